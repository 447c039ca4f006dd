"""One check before any work, of every command that writes: no photo of the user's own is lost.

What will be written and what will be read have nothing in common, nothing is written twice, and files that this program
did not write stay unless `--overwrite` is given.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seesr.apps.jobs.database import Kind, Print, Recipe
from seesr.apps.jobs.known import Known
from seesr.apps.jobs.manifest import Manifest
from seesr.errors import SeesrError
from seesr.system.atomic import announcing
from seesr.system.shown import many

Names = Iterable[tuple[str, Iterable[str]]]
"""Files as (folder, names in it): a folder of 100,000 photos is looked at once, not file by file."""


def grouped(paths: Iterable[Path]) -> list[tuple[str, list[str]]]:
    """Single files as `Names`."""
    return [(str(path.parent), [path.name]) for path in paths]


def check_outputs(reads: Names, writes: Names, overwrite: bool = False) -> None:
    """See above; to be called before anything is written.

    Raises:
        SeesrError: a file is both read and written, or written twice, or is there and not ours; it is named.
    """
    read: dict[str, set[str]] = {}
    for folder, names in reads:
        read.setdefault(os.path.realpath(folder), set()).update(names)
    written: dict[str, set[str]] = {}
    foreign: list[str] = []
    with Known() as known:
        for folder, names in writes:
            place = os.path.realpath(folder)
            before, here = written.setdefault(place, set()), _present(place)
            ours = None
            for name in names:
                path = os.path.join(folder, name)
                if name in read.get(place, ()):
                    raise SeesrError(
                        f"{path}: the result would replace the photo itself, or another that is read; "
                        "choose another output, or a --suffix"
                    )
                if name in before:
                    raise SeesrError(f"{path}: two inputs of the same name would be written there")
                before.add(name)
                if name in here and not overwrite:
                    ours = known.written_in(place) if ours is None else ours
                    if name not in ours:
                        foreign.append(path)
    if foreign:
        raise SeesrError(f"{many(foreign)} there already and not written by this program; {REMEDY}")


REMEDY = "choose another output, or replace with --overwrite"


def check_files(reads: Iterable[Path], writes: Iterable[Path], overwrite: bool = False) -> None:
    """`check_outputs` for some single files: an edited result of ours counts as the user's own too."""
    wanted = list(writes)
    linked = [Path(os.path.realpath(path)) for path in reads]
    check_outputs(grouped(linked), grouped(wanted), overwrite)
    check_outputs(grouped(linked), grouped(Path(os.path.realpath(path)) for path in wanted), overwrite=True)
    with Known() as known:
        changed = [str(path) for path in wanted if os.path.lexists(path) and not known.is_ours(path)]
    if changed and not overwrite:
        raise SeesrError(f"{many(changed)} there already and changed since this program wrote it; {REMEDY}")


@contextmanager
def recorded(folder: Path, kind: Kind = "report", overwrite: bool = False, also: Iterable[Path] = ()) -> Iterator[None]:
    """Within the block every file written whole below `folder` is noted as this program's own.

    also: files that are written in another way, and noted at the end.

    Raises:
        SeesrError: a file of a name that is written appears meanwhile, and is not ours.
    """
    with Manifest(folder, Recipe({}, ""), lazy=True) as manifest:
        manifest.overwrites_only_ours = not overwrite
        written: list[Path] = []

        def told(file: BinaryIO, path: Path) -> None:
            if folder in path.parents:
                manifest.announce(path, path, Print(0, 0), file, kind)
                written.append(path)

        try:
            with announcing(told):
                yield
            for path in (path for path in also if path.exists()):
                with path.open("rb") as file:
                    manifest.announce(path, path, Print(0, 0), file, kind, replaces=False)
                written.append(path)
        finally:
            if written:
                manifest.done(*(path for path in written if path.exists()))


def _present(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
