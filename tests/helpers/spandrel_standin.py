"""As much of spandrel as is used, with networks that repeat pixels: a checkpoint's only tensor names the network."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn


class UnsupportedModelError(Exception):
    pass


class RepeatsPixels:
    """An `ImageModelDescriptor`. sizes: shapes of the pictures that it was given."""

    supports_half, supports_bfloat16 = False, True
    input_channels = output_channels = 3

    def __init__(self, scale: int, tiling: str = "SUPPORTED", purpose: str = "SR") -> None:
        self.scale, self.tiling, self.purpose = scale, SimpleNamespace(name=tiling), purpose
        self.sizes: list[tuple[int, ...]] = []
        self.model = nn.Conv2d(3, 3, 1, bias=False)  # the identity: it gives each number format its own roundings
        nn.init.dirac_(self.model.weight)

    def to(self, device: torch.device) -> "RepeatsPixels":
        return self

    def eval(self) -> "RepeatsPixels":
        return self

    def __call__(self, x: Tensor) -> Tensor:
        assert len(x) == 1
        self.sizes.append(tuple(x.shape))
        same: Tensor = self.model(x)
        return same.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


def install_spandrel(patch: pytest.MonkeyPatch, networks: dict[str, Any]) -> None:
    """Put it where `import spandrel` finds it. networks: by the name of the tensor in their file."""

    class ModelLoader:
        def load_from_state_dict(self, tensors: dict[str, Tensor]) -> Any:
            if (name := next(iter(tensors))) not in networks:
                raise UnsupportedModelError
            return networks[name]

    module: Any = ModuleType("spandrel")
    module.ModelLoader, module.ImageModelDescriptor, module.__version__ = ModelLoader, RepeatsPixels, "0"
    module.UnsupportedModelError = UnsupportedModelError
    patch.setitem(sys.modules, "spandrel", module)
    patch.setitem(sys.modules, "spandrel_extra_arches", None)
