"""Methods that run elsewhere: a folder with what another program made, or a program that is run once a picture."""

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Case, Restored, fingerprint, peak_resident
from seesr.photos.files import READABLE
from seesr.photos.photo import read_photo


@dataclass(frozen=True)
class OutputFolder:
    """Pictures that another program has made: the files of the same names, whatever their suffixes."""

    name: str
    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise SeesrError(f"{self.name}: {self.folder} is no folder; give one with a method's outputs")

    @property
    def settings(self) -> dict[str, Any]:
        return {"folder": str(self.folder)}

    @property
    def identity(self) -> str:
        return f"{self.folder.resolve()} {fingerprint(self.folder)}"

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        return [Restored(read_photo(self._output_of(case.path)).rgb, None, None) for case in cases]

    def _output_of(self, source: Path) -> Path:
        for path in sorted(self.folder.iterdir()):
            if path.stem == source.stem and path.suffix.lower() in READABLE:
                return path
        raise SeesrError(f"{self.folder}: holds no picture called {source.stem}, to go with {source}")


@dataclass(frozen=True)
class Command:
    """A program run once a picture; no shell comes between, so names with spaces are safe.

    template: the command line; `{input}` stands for the picture's file, `{output}` for the PNG file it has to write.
    Its time includes starting the program and loading its weights.
    """

    name: str
    template: str

    def __post_init__(self) -> None:
        for placeholder in ("{input}", "{output}"):
            if placeholder not in self.template:
                raise SeesrError(f"{self.name}: the command has no {placeholder}; say where it goes")
        self._arguments({})

    @property
    def settings(self) -> dict[str, Any]:
        return {"command": self.template}

    @property
    def identity(self) -> str:
        return self.template

    def _arguments(self, places: dict[str, str]) -> list[str]:
        try:
            words = shlex.split(self.template)
        except ValueError as error:
            raise SeesrError(f"{self.name}: the command cannot be read ({error}); check its quotes") from None
        for placeholder, place in places.items():
            words = [word.replace(placeholder, place) for word in words]
        return words

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        return [self._run(case.path) for case in cases]

    def _run(self, source: Path) -> Restored:
        with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "messages.txt", "w+b") as messages:
            target = Path(folder) / f"{source.stem}.png"
            arguments = self._arguments({"{input}": str(source.resolve()), "{output}": str(target)})
            began = time.perf_counter()
            try:
                process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=messages, stderr=subprocess.STDOUT
                )
            except OSError as error:
                raise SeesrError(f"{self.name}: {arguments[0]} cannot be run ({error.strerror})") from None
            code, peak_bytes = _wait(process)
            seconds = time.perf_counter() - began
            if code != 0 or not target.is_file():
                messages.seek(0)
                said = messages.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                what = f"ended with {code}" if code else "wrote no {output}"
                raise SeesrError(f"{self.name}: the command {what} for {source} ({said[0]})")
            return Restored(read_photo(target).rgb, seconds, peak_bytes)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int | None]:
    """Exit code and peak resident bytes of a program and those it ran; None where the system does not tell.

    A program starts as a copy of this process, which Linux counts, so a peak below our own is not known.
    """
    if not hasattr(os, "wait4"):
        return process.wait(), None
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
    return process.returncode, peak if peak > (peak_resident() or 0) else None
