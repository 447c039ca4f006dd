"""Methods to compare, behind one interface: a list of low-resolution pictures in, a list of restored ones out.

A method is named by one line of text: `bicubic`; a SeeSR model with what to change (`mini`, `mini:paper`,
`FOLDER:fast,start=noise`); `folder:PATH` for the outputs of any other program; `command:TEMPLATE` to run one.
"""

import hashlib
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

import seesr
from seesr.checkpoints.registry import resolve
from seesr.devices import choose_dtype
from seesr.errors import SeesrError
from seesr.images import READABLE, read_photo
from seesr.pipeline import SeeSRPipeline


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
    identity: text that changes whenever earlier results can no longer be used.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> dict[str, Any]: ...

    @property
    def identity(self) -> str: ...

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        """Enlarge every picture `scale` times; raises SeesrError where one cannot be restored."""


def make_method(name: str, device: torch.device) -> Method:
    """The method called `name`; nothing is loaded yet.

    Raises:
        SeesrError: no such method or model, an unknown setting or a value it cannot have, a template without
            placeholders, a folder that is not there.
    """
    kind, _, rest = name.partition(":")
    if name == "bicubic":
        return Bicubic()
    if kind == "folder":
        return OutputFolder(name, Path(rest).expanduser())
    if kind == "command":
        return Command(name, rest)
    if Path(name).expanduser().is_dir():
        return Model(name, name, {"seed": 0}, device)
    model, _, text = name.rpartition(":") if ":" in name else (name, "", "")
    try:
        resolve(model)
    except SeesrError as error:
        raise SeesrError(f"no method {name!r}: bicubic, folder:PATH, command:TEMPLATE, or a model; {error}") from None
    return Model(name, model, {"seed": 0} | parse_settings(text), device)


# ---------------------------------------------------------------------------------------------------------- bicubic


class Bicubic:
    """Pillow's bicubic filter, the baseline of every table."""

    name = "bicubic"
    identity = "bicubic"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        def enlarge(image: Image.Image) -> Image.Image:
            return image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)

        return [_measured(enlarge, case.image, torch.device("cpu")) for case in cases]


# ----------------------------------------------------------------------------------------------------- SeeSR models


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split("+") if word.strip()]


_SHORT = {"start": "start_point", "steps": "num_inference_steps", "guidance": "guidance_scale"}
_SETTINGS: dict[str, Callable[[str], Any]] = {
    "profile": str,
    "prompt": str,
    "negative_prompt": str,
    "added_prompt": str,
    "tags": _words,
    "exclude_tags": _words,
    "scheduler": str,
    "num_inference_steps": int,
    "guidance_scale": float,
    "start_point": str,
    "fidelity": float,
    "color_fix": str,
    "process_size": int,
    "latent_tile_size": int,
    "latent_tile_overlap": int,
    "tile_batch_size": int,
    "conditioning_scale": float,
    "seed": int,
}


def parse_settings(text: str) -> dict[str, Any]:
    """`fast,start=noise,tags=cat+tree` → arguments of the pipeline's call; a word without `=` is the profile.

    Lists of tags are joined by `+`; `tags=` means none at all.

    Raises:
        SeesrError: an unknown setting, or a value of the wrong kind.
    """
    settings: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        key, value = (_SHORT.get(key, key), value) if equals else ("profile", key)
        if key not in _SETTINGS:
            raise SeesrError(f"no setting {key!r} in {text!r}; there are {', '.join((*_SHORT, *_SETTINGS))}")
        try:
            settings[key] = _SETTINGS[key](value)
        except ValueError:
            raise SeesrError(f"{key} cannot be {value!r}; give {_SETTINGS[key].__name__}") from None
    return settings


@dataclass(frozen=True)
class Model:
    """A SeeSR model, loaded at the first picture.

    model: as `SeeSRPipeline.from_pretrained` takes it. arguments: of the pipeline's call.
    """

    name: str
    model: str
    arguments: dict[str, Any]
    device: torch.device

    @cached_property
    def dtype(self) -> torch.dtype:
        return choose_dtype("auto", self.device, exact=self.arguments.get("profile") == "paper")

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.model, "dtype": str(self.dtype).removeprefix("torch.")} | self.arguments

    @cached_property
    def identity(self) -> str:
        place = Path(resolve(self.model))
        weights = _fingerprint(place) if place.is_dir() else self.model
        return f"{seesr.__version__} {self.device.type} {sorted(self.settings.items())} {weights}"

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        pipeline = _load(self.model, self.device, self.dtype)
        pipeline.profile(self.arguments.get("profile"))  # tells of an unknown one before any work

        def enlarge(image: Image.Image) -> Image.Image:
            return pipeline(image, scale=scale, **self.arguments).images[0]

        results = []
        for case in cases:
            try:
                results.append(_measured(enlarge, case.image, self.device))
            except (SeesrError, RuntimeError) as error:  # torch's own, where memory runs out
                raise SeesrError(f"{case.path}: {self.name} failed: {error}") from error
        return results


@lru_cache(maxsize=1)
def _load(model: str, device: torch.device, dtype: torch.dtype) -> SeeSRPipeline:
    """One model at a time is held; ablations of it share it."""
    return SeeSRPipeline.from_pretrained(model, dtype=dtype).to(device)


def _fingerprint(folder: Path) -> str:
    """Hash of names, sizes and times of the files below a folder: new weights, new results."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


# --------------------------------------------------------------------------------------------------- other programs


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
        return f"{self.folder.resolve()} {_fingerprint(self.folder)}"

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

    A program starts as a copy of this process, and Linux counts that in; so a peak below our own is not known.
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
    return process.returncode, peak if peak > (_peak_resident() or 0) else None


# --------------------------------------------------------------------------------------------------------- measuring


def _measured(work: Callable[[Image.Image], Image.Image], image: Image.Image, device: torch.device) -> Restored:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the highest resident size so far
    began = time.perf_counter()
    result = work(image)
    seconds = time.perf_counter() - began  # the picture is on the CPU by now, so an accelerator is done as well
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident()
    return Restored(result, seconds, peak)


def _peak_resident() -> int | None:
    """Highest resident bytes of this process since the last reset; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
