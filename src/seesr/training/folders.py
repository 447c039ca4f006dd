"""Folders that exist only when complete: of checkpoints, of models, of data."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator


def write_folder(folder: Path, write: Callable[[Path], None], everyone: Accelerator | None = None) -> None:
    """Let `write` fill a folder that takes its name, in place of an older one, only when it is complete.

    With `everyone` all processes write into it; without, the calling one alone.
    """
    partial = folder.with_name(f".{folder.name}.partial")
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
        older = folder.with_name(f".{folder.name}.older")
        shutil.rmtree(older, ignore_errors=True)
        if folder.exists():
            folder.rename(older)
        partial.rename(folder)
        shutil.rmtree(older, ignore_errors=True)
    if everyone:
        everyone.wait_for_everyone()
