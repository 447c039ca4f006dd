"""Any single-file checkpoint that spandrel reads: BSRGAN, Real-ESRGAN, LDL, SwinIR, DAT, HAT and many more.

FeMaSR and others whose licences ask for it lie in the package `spandrel_extra_arches`, used where it is installed.
spandrel needs torchvision, so it is imported only when such a method is asked for.
"""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Case, Restored, restore_each
from seesr.evaluation.baselines.tiles import TILE, enlarge_with_network


@dataclass(frozen=True)
class Checkpoint:
    """A network of another project from its weights' file, in float32, in tiles where it can be cut."""

    name: str
    file: Path
    device: torch.device

    def __post_init__(self) -> None:
        if not self.file.is_file():
            raise SeesrError(f"{self.name}: {self.file} is no file; give one with a network's weights")
        _spandrel(self.name)

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        version = _spandrel(self.name).__version__
        return {"file": self.file.name, "sha256": self._sha256, "spandrel": version, "dtype": "float32"}

    @property
    def identity(self) -> str:
        return f"{self.settings} {self.device.type}"

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        model, can_be_cut = _load(self.name, self.file, self.device)

        @torch.inference_mode()
        def network(picture: torch.Tensor) -> torch.Tensor:
            restored: torch.Tensor = model(picture.to(self.device))
            return restored.float().cpu()

        def enlarge(case: Case) -> Image.Image:
            tile = TILE if can_be_cut else max(case.image.size)
            return enlarge_with_network(network, case.image, scale, tile)

        return restore_each(self.name, cases, self.device, enlarge)


def _spandrel(name: str) -> Any:
    try:
        import spandrel
    except ImportError as error:
        raise SeesrError(f"{name} needs spandrel and torchvision ({error}); pip install spandrel torchvision") from None
    return spandrel


@lru_cache(maxsize=1)
def _load(name: str, file: Path, device: torch.device) -> tuple[Any, bool]:
    """The network, and whether pictures may be cut into tiles for it."""
    spandrel = _spandrel(name)
    try:
        import spandrel_extra_arches
    except ImportError:
        pass
    else:
        spandrel_extra_arches.install(ignore_duplicates=True)
    try:
        model = spandrel.ModelLoader().load_from_file(file)
    except (ValueError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError, spandrel.UnsupportedModelError) as e:
        reason = str(e).strip().partition("\n")[0] or "an architecture it does not know"
        raise SeesrError(f"{file}: spandrel cannot read it ({reason})") from e
    if not isinstance(model, spandrel.ImageModelDescriptor) or (model.input_channels, model.output_channels) != (3, 3):
        raise SeesrError(f"{file}: is no network from colour picture to colour picture")
    if model.scale < 2:
        raise SeesrError(f"{file}: does not enlarge; give a network for super-resolution")
    return model.to(device).eval(), model.tiling is spandrel.ModelTiling.SUPPORTED
