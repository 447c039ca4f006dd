"""Which file becomes which: single files, several, and whole folder trees."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seesr.errors import SeesrError
from seesr.photos.files import READABLE, WRITABLE, check_writable, output_name


@dataclass(frozen=True)
class Job:
    """One photo to restore: read `source`, write `target`."""

    source: Path
    target: Path


def find_photos(folder: Path) -> list[Path]:
    """Image files below `folder`, by suffix, in path order; hidden files and folders are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in READABLE and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def plan_jobs(inputs: Sequence[Path], output: Path, suffix: str = "", ext: str | None = None) -> list[Job]:
    """Pair every photo with the file its restoration goes to.

    One input file and an `output` with a picture's suffix: that very file. Otherwise `output` is a folder: files go
    into it under the name that `seesr.photos.files.output_name` gives them, folders with their tree kept. Names that
    would meet keep their old extension too (`a.jpg.png`).

    Raises:
        SeesrError: an input is missing, a folder holds no photo, a result would replace its own source, or the output
            cannot be written. Nothing has been written by then.
    """
    missing = [path for path in inputs if not _exists(path)]
    if missing:
        raise SeesrError(f"{missing[0]}: no such file or folder")
    if (
        len(inputs) == 1
        and inputs[0].is_file()
        and output.suffix.lower() in READABLE | WRITABLE
        and not output.is_dir()
    ):
        jobs = [Job(inputs[0], output)]
    else:
        if output.is_file():
            raise SeesrError(f"{output}: is a file; several photos need a folder")
        pairs: list[tuple[Path, Path]] = []  # (source, path below the output folder)
        for path in inputs:
            photos = find_photos(path) if path.is_dir() else [path]
            if not photos:
                raise SeesrError(f"{path}: holds no photo ({', '.join(sorted(READABLE))})")
            pairs += [(photo, photo.relative_to(path) if path.is_dir() else Path(photo.name)) for photo in photos]
        named = [(source, path, path.with_name(output_name(path, suffix, ext))) for source, path in pairs]
        count = Counter(target for _, _, target in named)
        jobs = [
            Job(source, output / (target if count[target] == 1 else target.with_name(path.name + target.suffix)))
            for source, path, target in named
        ]
        twice = [target for target, n in Counter(job.target for job in jobs).items() if n > 1]
        if twice:
            raise SeesrError(f"{twice[0]}: two inputs of the same name would be written there")
    for job in jobs:
        check_writable(job.target)
        if job.target.exists() and job.target.samefile(job.source):
            raise SeesrError(f"{job.source}: the result would replace the photo itself; choose another output")
    return jobs


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name longer than any file's may be
        return False
