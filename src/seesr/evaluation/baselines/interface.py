"""The one interface of all methods: low-resolution pictures in, restored ones out, and what each of them cost."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from seesr.errors import SeesrError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A low-resolution picture: its file and its pixels (RGB)."""

    path: Path
    image: Image.Image


@dataclass(frozen=True)
class Restored:
    """A result and what it cost.

    seconds: wall time, files' reading and writing left out where the method works on pixels; None if not known.
    peak_bytes: most memory held at once: on CUDA the tensors', else the resident memory of the process that did the
        work, everything it had loaded included; None if not known.
    """

    image: Image.Image
    seconds: float | None
    peak_bytes: int | None


class Method(Protocol):
    """What `seesr evaluate` needs of a method.

    name: as it was asked for. settings: what a record of the run has to state, seeds included, as plain JSON types.
    identity: text that changes with the settings and the weights; code and libraries are looked after elsewhere
        (`seesr.evaluation.provenance`).
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> dict[str, Any]: ...

    @property
    def identity(self) -> str: ...

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        """Enlarge every picture `scale` times; raises SeesrError where one cannot be restored."""


def restore_each(
    name: str, cases: Sequence[Case], device: torch.device, work: Callable[[Case], Image.Image]
) -> list[Restored]:
    """`work` done on every picture, timed, with the peak of memory.

    Raises:
        SeesrError: it failed, memory that runs out included; names picture and method.
    """
    results = []
    for case in cases:
        try:
            results.append(_measured(work, case, device))
        except (SeesrError, RuntimeError, MemoryError) as error:
            raise SeesrError(f"{case.path}: {name} failed: {error or 'memory ran out'}") from error
    return results


def fingerprint(*places: Path) -> str:
    """Hash of names, sizes and times of files, also those below folders; model cards are left out."""
    digest = hashlib.sha256()
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file() and path.suffix != ".md":
                stat = path.stat()
                name = path.name if path == place else path.relative_to(place)
                digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def peak_resident() -> int | None:
    """Highest resident bytes of this process since the last reset; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _measured(work: Callable[[Case], Image.Image], case: Case, device: torch.device) -> Restored:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the highest resident size so far
    began = time.perf_counter()
    result = work(case)
    seconds = time.perf_counter() - began  # the picture is on the CPU by now, so an accelerator is done as well
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident()
    return Restored(result, seconds, peak)
