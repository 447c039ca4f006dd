"""Any single-file checkpoint that spandrel reads (`seesr.checkpoints.foreign`), as a method to compare with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from seesr.checkpoints.foreign import import_spandrel, read_network
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
        import_spandrel(self.name)

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        version = import_spandrel(self.name).__version__
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


@lru_cache(maxsize=1)
def _load(name: str, file: Path, device: torch.device) -> tuple[Any, bool]:
    """The network, and whether pictures may be cut into tiles for it."""
    found = read_network(file, name)
    if found.scale < 2:
        raise SeesrError(f"{file}: does not enlarge; give a network for super-resolution")
    return found.to(device).eval(), found.tiling.name == "SUPPORTED"
