"""What a cluster job has to do: the photos of a place, the names of their results, and what was done before.

Only names, sizes and versions are held, in lists and tables: a million of them take about a gigabyte for a moment, and
seconds. Names are given as `seesr upscale` gives them (`seesr.apps.jobs.folder`).
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from seesr.apps.cluster.manifest import FOLDER, Manifest
from seesr.apps.cluster.places import Place
from seesr.apps.jobs.database import Recipe
from seesr.apps.jobs.folder import Batch, Plan, name_files, no_photo
from seesr.apps.jobs.known import Known
from seesr.apps.jobs.outputs import REMEDY
from seesr.apps.jobs.run import difference
from seesr.apps.jobs.walk import Found, take, walk
from seesr.apps.prompt_files import prompts_path
from seesr.errors import SeesrError
from seesr.photos.sixteen_bit import SIXTEEN_BIT_SUFFIXES
from seesr.system.shown import many

JOBS = pa.schema(
    [
        ("source", pa.string()),
        ("result", pa.string()),
        ("sheet", pa.string()),  # the side-by-side, or ""
        ("version", pa.string()),
        ("older", pa.int64()),  # bytes of the file that stands where the result goes
    ]
)
"""Photos to restore, by keys."""


@dataclass
class Listing:
    """The photos below a place, and what is left out of them, as a `Plan` has it; versions: of the photos, by key.

    odd: how many names are no UTF-8, which no object storage and no manifest holds.
    """

    plan: Plan
    versions: dict[str, str] = field(default_factory=dict)
    odd: int = 0

    def may_be_fine(self) -> Iterator[str]:
        """Keys of photos whose results can hold 16 bits a channel, in order."""
        for batch in self.plan.batches:
            for name, target, _ in batch.names:
                if os.path.splitext(target)[1].lower() in SIXTEEN_BIT_SUFFIXES:
                    yield _key(batch.source, name)

    def problems(self) -> list[str]:
        """What could not be listed, a line each."""
        odd = [f"{self.odd} names are no UTF-8, which no manifest holds; rename these files"] if self.odd else []
        return self.plan.problems + odd


def list_photos(source: Place, target: Place, suffix: str, ext: str | None, compare: bool) -> Listing:
    """The photos below `source` with the names of their results.

    Raises:
        SeesrError: the places lie in each other so that results would be photos, one cannot be listed, or there is no
            photo.
    """
    inside = target.below(source)
    if inside == "" or source.below(target) is not None:
        raise SeesrError(f"{target.url}: holds the photos themselves; choose another output")
    listing = Listing(Plan(Path(target.url), False))
    plan = listing.plan
    for found in _local(source.local) if source.local else _remote(source, listing):
        found.below = found.below.replace(os.sep, "/")
        if inside and f"{found.below}/".startswith(f"{inside}/"):
            continue
        plan.results += found.results
        plan.unread += [source.name(_key(found.below, name)) for name in found.unread]
        if found.problem:
            plan.problems.append(f"{source.name(found.below)}: cannot be read ({found.problem})")
        names = [(name, name, "") for name in found.photos if _is_utf8(_key(found.below, name))]
        listing.odd += len(found.photos) - len(names)
        if names:
            plan.batches.append(Batch(found.below, found.below, names))
    if not len(plan) and not plan.problems and not listing.odd:
        raise SeesrError(no_photo(source.url, plan))
    name_files(plan, suffix, ext, compare)
    if source.local:
        listing.versions = dict(_local_versions(source.local, plan))
    return listing


def find_work(
    listing: Listing, manifest: Manifest, listed: dict[str, int], recipe: Recipe, wishes: "Wishes"
) -> pa.Table:
    """The photos that are not done, as `JOBS`.

    Args:
        listed: sizes of all files at the target, by key.

    Raises:
        SeesrError: a file that is not the manifest's would be replaced, or results of another recipe.
    """
    known = _Known(manifest.rows)
    jobs: dict[str, list[str | int | None]] = {name: [] for name in JOBS.names}
    foreign: list[str] = []
    others: list[tuple[str, str]] = []
    for batch in listing.plan.batches:
        for name, target, beside in batch.names:
            source, result = _key(batch.source, name), _key(batch.target, target)
            sheet = _key(batch.target, beside) if beside else ""
            version = listing.versions.get(source, "")
            row = known.rows.get(result)
            if not wishes.overwrite:
                there = [key for key in (result, sheet, _prompts(result) if wishes.prompts else "") if key in listed]
                if row is None:
                    foreign += there
                elif row.recipe != recipe.digest:
                    others += [(result, row.recipe)] if there else []
                elif row.is_done(version, wishes.only_smaller, result in listed and (not sheet or sheet in listed)):
                    continue
                elif result in there and row.size != listed[result]:
                    foreign.append(result)
            for column, value in zip(JOBS.names, (source, result, sheet, version, listed.get(result))):
                jobs[column].append(value)
    if foreign:
        names = many([manifest.place.name(key) for key in foreign])
        raise SeesrError(f"{names} there already and not written by this program, or changed since; {REMEDY}")
    if others:
        result, digest = others[0]
        number = f"{len(others)} results" if len(others) > 1 else "a result"
        raise SeesrError(
            f"{manifest.place.url}: has {number} of other settings ({difference(manifest.recipe(digest), recipe)}), "
            f"as {result}; choose another folder, or do them again with --overwrite"
        )
    return pa.table(jobs, JOBS)


@dataclass(frozen=True)
class Wishes:
    """overwrite: do all anew, whatever stands there. prompts: a JSON file beside each result. only_smaller: photos that
    were left as they are stay so."""

    overwrite: bool = False
    prompts: bool = False
    only_smaller: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    recipe: str
    version: str
    size: int | None
    failed: bool

    def is_done(self, version: str, only_smaller: bool, there: bool) -> bool:
        if self.failed or self.version != version:
            return False
        return only_smaller if self.size is None else there


class _Known:
    """Rows of a manifest by result."""

    def __init__(self, table: pa.Table) -> None:
        columns = [table[name].to_pylist() for name in ("recipe", "version", "size")]
        failed = table["error"].is_valid().to_pylist()
        self.rows = dict(zip(table["result"].to_pylist(), map(_Row, *columns, failed)))


def _local(root: Path) -> Iterator[Found]:
    if root.is_file():
        raise SeesrError(f"{root}: is a file; `seesr upscale` restores single photos")
    if not root.is_dir():
        raise SeesrError(f"{root}: no such file or folder")
    with Known() as known:
        yield from walk(str(root), known)


def _remote(source: Place, listing: Listing) -> Iterator[Found]:
    """What `walk` finds in a folder, of an object storage; `listing` gets the versions."""
    folders: dict[str, list[str]] = defaultdict(list)
    for file in source.files():
        folder, _, name = file.key.rpartition("/")
        if not any(part.startswith(".") or part == FOLDER for part in file.key.split("/")):
            folders[folder].append(name)
            listing.versions[file.key] = f"{file.size} {file.version}"
    for folder in sorted(folders, key=lambda folder: folder.split("/")):
        found = Found(folder, folder)
        for name in sorted(folders[folder]):
            take(name, found)
        yield found


def _local_versions(root: Path, plan: Plan) -> Iterator[tuple[str, str]]:
    for batch in plan.batches:
        for name, _, _ in batch.names:
            key = _key(batch.source, name)
            try:
                stat = os.stat(root / key)
            except OSError:
                continue  # told when it is its turn
            yield key, f"{stat.st_size} {stat.st_mtime_ns}"


def _key(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _prompts(key: str) -> str:
    return prompts_path(Path(key)).as_posix()


def _is_utf8(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
