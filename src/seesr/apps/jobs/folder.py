"""Which file becomes which: single files, several, and whole folder trees.

The plan is made whole before any work, so that what would go wrong is said first. It holds names, folder by folder, and
no more: 100,000 photos take about a second and some 20 MB.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seesr.apps.jobs.known import Known
from seesr.apps.jobs.outputs import check_files, check_outputs
from seesr.apps.jobs.walk import PICTURES, walk
from seesr.apps.prompt_files import prompts_path
from seesr.errors import SeesrError
from seesr.photos.files import READABLE, WRITABLE, check_writable, output_name

_LONGEST_NAME = 255  # bytes, on nearly every file system


@dataclass(frozen=True)
class Job:
    """One photo to restore: read `source`, write `target`, and a side-by-side to `sheet` if there is to be one.

    problem: why it cannot be done, known beforehand.
    """

    source: Path
    target: Path
    sheet: Path | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Batch:
    """Jobs of one folder. names: (source, target, side-by-side or "")."""

    source: str
    target: str
    names: list[tuple[str, str, str]]


@dataclass
class Plan:
    """All jobs of a command, in order, and what is left out.

    folder: where the manifest lies. single: one photo with a file's name for its result.
    unread: files that look like pictures and cannot be read. results: results of ours among the inputs.
    problems: folders that cannot be read, and why.
    """

    folder: Path
    single: bool
    batches: list[Batch] = field(default_factory=list)
    links: list[tuple[str, list[str]]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    results: int = 0
    problems: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(batch.names) for batch in self.batches)

    def __iter__(self) -> Iterator[Job]:
        for batch in self.batches:
            for source, target, sheet in batch.names:
                yield _job(batch, source, target, sheet)

    def check(self, overwrite: bool, prompts: bool = False) -> None:
        """That no photo is lost, nor another file (`seesr.apps.jobs.outputs`).

        prompts: whether each result gets a JSON file with its prompts beside it.

        Raises:
            SeesrError: one would be.
        """
        if self.single:
            job = next(iter(self))
            beside = [job.sheet] if job.sheet else []
            beside += [prompts_path(job.target)] if prompts else []
            check_files([job.source], [job.target, *beside], overwrite)
            return
        reads = [(batch.source, [source for source, _, _ in batch.names]) for batch in self.batches]
        writes = [(b.target, [name for _, *pair in b.names for name in pair if name]) for b in self.batches]
        if prompts:
            writes += [(b.target, [prompts_path(Path(name)).name for _, name, _ in b.names]) for b in self.batches]
        check_outputs(reads + self.links, writes, overwrite)


def _job(batch: Batch, source: str, target: str, sheet: str) -> Job:
    longest = max(len(os.fsencode(name)) for name in (target, sheet))
    return Job(
        Path(batch.source, source),
        Path(batch.target, target),
        Path(batch.target, sheet) if sheet else None,
        "its result's name would be too long; shorten it, or --suffix" if longest > _LONGEST_NAME else None,
    )


def find_photos(folder: Path) -> list[Path]:
    """Image files below `folder`, by suffix, in a fixed order; hidden ones and results of ours are left out."""
    with Known() as known:
        return [Path(found.folder, name) for found in walk(str(folder), known) for name in found.photos]


def plan_jobs(
    inputs: Sequence[Path], output: Path, suffix: str = "", ext: str | None = None, compare: bool = False
) -> Plan:
    """Pair every photo with the file its restoration goes to.

    One input file and an `output` with a picture's suffix: that very file. Otherwise `output` is a folder: files go
    into it under the name that `seesr.photos.files.output_name` gives them, folders with their tree kept. Names that
    would meet keep their old extension too (`a.jpg.png`), and a side-by-side takes no result's name.

    Raises:
        SeesrError: an input is missing, a folder holds no photo, or the output cannot be written. Nothing has been
            written by then. `Plan.check` finds what would be lost.
    """
    missing = [path for path in inputs if not _exists(path)]
    if missing:
        raise SeesrError(f"{missing[0]}: no such file or folder")
    named = output.suffix.lower() in PICTURES and not output.is_dir()
    if named and len(inputs) == 1 and inputs[0].is_file():
        check_writable(output)
        sheet = _sheet(output.name, {output.name}) if compare else ""
        source = inputs[0]
        return Plan(
            output.parent, True, [Batch(str(source.parent), str(output.parent), [(source.name, output.name, sheet)])]
        )
    if named and output.suffix.lower() not in WRITABLE:
        check_writable(output)  # which says what can be written
    if output.is_file():
        raise SeesrError(f"{output}: is a file; several photos need a folder")
    output_name(Path("x.png"), suffix, ext)  # a wrong --suffix or --ext is the same for all
    plan = Plan(output, False)
    with Known() as known:
        for path in inputs:
            before = len(plan)
            if path.is_dir():
                _plan_folder(plan, path, known)
                if len(plan) == before and not plan.problems:
                    raise SeesrError(no_photo(path, plan))
            else:
                plan.batches.append(Batch(str(path.parent), str(output), [(path.name, path.name, "")]))
                plan.links.append((os.path.dirname(real := os.path.realpath(path)), [os.path.basename(real)]))
    if named:
        raise SeesrError(f"{output}: is a picture's name, and there may be several results; give a folder")
    check_writable(output / "x.png")
    name_files(plan, suffix, ext, compare)
    if all(job.problem for job in plan) and (job := next(iter(plan), None)):
        raise SeesrError(f"{job.source}: {job.problem}")
    return plan


def numbered_plans(
    plan: Plan, inputs: Sequence[Path], output: Path, suffix: str, ext: str | None, compare: bool, samples: int
) -> list[Plan]:
    """A plan for each of several samples of one photo: x-1.png, x-2.png, …; `plan`: what the rest makes without them.

    Each result is what a run of its own, with the sample's seed, would write there, so it is resumed as any result is.

    Raises:
        SeesrError: there are several photos.
    """
    if len(plan) != 1:
        raise SeesrError("`samples` writes several results of one photo; for several photos choose `keep` best")
    numbers = range(1, samples + 1)
    if plan.single:
        named = [output.with_stem(f"{output.stem}-{number}") for number in numbers]
        return [plan_jobs(inputs, each, suffix, ext, compare) for each in named]
    return [plan_jobs(inputs, output, f"{suffix}-{number}", ext, compare) for number in numbers]


def _plan_folder(plan: Plan, path: Path, known: Known) -> None:
    for found in walk(str(path), known):
        plan.results += found.results
        plan.unread += [os.path.join(found.folder, name) for name in found.unread]
        if found.problem:
            plan.problems.append(f"{found.folder}: cannot be read ({found.problem})")
        for name in found.links:
            real = os.path.realpath(os.path.join(found.folder, name))
            plan.links.append((os.path.dirname(real), [os.path.basename(real)]))
        if found.photos:
            target = os.path.join(plan.folder, found.below) if found.below else str(plan.folder)
            plan.batches.append(Batch(found.folder, target, [(name, name, "") for name in found.photos]))


def name_files(plan: Plan, suffix: str, ext: str | None, compare: bool) -> None:
    """Give every photo of a plan the name of its result, and of its side-by-side."""
    endings: dict[str, str] = {}
    places: dict[str, list[Batch]] = {}
    for batch in plan.batches:
        places.setdefault(os.path.normpath(batch.target), []).append(batch)
    for batches in places.values():
        wished = [[_result(source, suffix, ext, endings) for source, _, _ in batch.names] for batch in batches]
        count = Counter(name for names in wished for name in names)
        for batch, names in zip(batches, wished):
            for i, ((source, _, _), name) in enumerate(zip(batch.names, names)):
                name = name if count[name] == 1 else source + os.path.splitext(name)[1]
                batch.names[i] = (source, name, "")
        if compare:
            taken = {name for batch in batches for _, name, _ in batch.names}
            for batch in batches:
                batch.names[:] = [(source, name, _sheet(name, taken)) for source, name, _ in batch.names]


def _result(source: str, suffix: str, ext: str | None, endings: dict[str, str]) -> str:
    """Name of a photo's result; `endings` keeps what `output_name` makes of each ending."""
    stem, ending = os.path.splitext(source)
    if ending not in endings:
        endings[ending] = os.path.splitext(output_name(Path(f"x{ending}"), "", ext))[1]
    return stem + suffix + endings[ending]


def _sheet(name: str, taken: set[str]) -> str:
    """Name of the side-by-side of the result `name`: x-compare.png of x.png, or x-compare-2.png where that is taken."""
    stem, suffix = os.path.splitext(name)
    sheet, number = f"{stem}-compare{suffix}", 1
    while sheet in taken:
        number += 1
        sheet = f"{stem}-compare-{number}{suffix}"
    taken.add(sheet)
    return sheet


def no_photo(path: Path | str, plan: Plan) -> str:
    """What is said of a folder without a photo."""
    if plan.results:
        return f"{path}: holds results of this program, and no photo"
    if plan.unread:
        return f"{path}: holds no photo that can be read, but {', '.join(map(os.path.basename, plan.unread[:3]))}"
    return f"{path}: holds no photo ({', '.join(sorted(READABLE))})"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name longer than any file's may be
        return False
