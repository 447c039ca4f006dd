"""Files and folders that exist only when complete: pictures, reports, checkpoints, models, data.

A write that fails or is killed leaves what stood under the name before, and no half of the new.
"""

import csv
import io
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from seesr.errors import SeesrError
from seesr.system.shown import cell

if TYPE_CHECKING:
    from accelerate import Accelerator

PART = re.compile(r"\.seesr-[0-9a-f]{32}\.part")
"""Name of a file that is not whole yet, or of what a killed process left of one."""

_ABANDONED = 3600  # seconds without a change
_announced: ContextVar[Callable[[BinaryIO, Path], None] | None] = ContextVar("_announced", default=None)


@contextmanager
def announcing(told: Callable[[BinaryIO, Path], None]) -> Iterator[None]:
    """Within the block and its thread, have `told(file, path)` called with every whole file before it gets its name.

    An error that it raises leaves what stood under the name as it was.
    """
    token = _announced.set(told)
    try:
        yield
    finally:
        _announced.reset(token)


def write_whole(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Have `save` write into a file that gets the name `path` once it is whole; folders are made.

    Args:
        save: is given the file, open for writing and reading.

    Raises:
        SeesrError: a write that fails (no space left).
    """
    part = _unfinished(path.with_name(uuid.uuid4().hex))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _nameless(path.parent) or open(part, "x+b") as file:
                save(file)
                file.flush()
                os.fsync(file.fileno())  # some file systems tell of a full disk only here
                if told := _announced.get():
                    told(file, path)
                if not part.exists():
                    os.link(f"/proc/self/fd/{file.fileno()}", part, src_dir_fd=0)  # which has linkat follow the link
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SeesrError(f"{path}: cannot be written ({reason}); nothing was left there") from error


def remove_parts(folder: str | Path) -> None:
    """Remove what processes that were killed while writing left in `folder`: parts older than an hour."""
    try:
        found = [entry for entry in os.scandir(folder) if PART.fullmatch(entry.name)]
        for entry in found:
            if time.time() - entry.stat().st_mtime > _ABANDONED:
                os.unlink(entry.path)
    except OSError:
        pass  # no such folder yet, or not ours to clean


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; folders are made.

    Raises:
        SeesrError: a write that fails.
    """
    write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all; folders are made.

    Raises:
        SeesrError: a write that fails.
    """
    write_bytes(path, text.encode())


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same keys as CSV with a head; None is an empty cell, and no cell is a spreadsheet's formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def write_folder(folder: Path, write: Callable[[Path], None], everyone: "Accelerator | None" = None) -> None:
    """Let `write` fill a folder that takes its name, in place of an older one, only when it is complete.

    With `everyone` all processes write into it; without, the calling one alone.
    """
    partial = _unfinished(folder)
    leads = everyone is None or everyone.is_main_process
    if leads:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    if everyone:
        everyone.wait_for_everyone()
    write(partial)
    if everyone:
        everyone.wait_for_everyone()
    if leads:
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        older = _unfinished(folder.with_name(f"{folder.name}.older"))
        shutil.rmtree(older, ignore_errors=True)
        if folder.exists():
            folder.rename(older)
        partial.rename(folder)
        shutil.rmtree(older, ignore_errors=True)
    if everyone:
        everyone.wait_for_everyone()


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block ends well and disappears otherwise.

    Raises:
        SeesrError: `out` holds something already, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SeesrError(f"{out}: exists already; choose another folder or remove it first")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".seesr-{out.name}-", suffix=".part"))
    except OSError as error:
        raise SeesrError(f"{out}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    except OSError as error:
        raise SeesrError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unfinished(path: Path) -> Path:
    """Where what is to be called `path` is written: `.seesr-NAME.part` beside it."""
    return path.with_name(f".seesr-{path.name}.part")


def _nameless(folder: Path) -> BinaryIO | None:
    """A file without a name, of which nothing is left if the process is killed; None where there are none (open(2))."""
    if not hasattr(os, "O_TMPFILE") or not os.access("/proc/self/fd", os.X_OK):
        return None
    try:
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    except OSError:
        return None
