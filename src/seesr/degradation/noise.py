"""Gaussian and Poisson noise, per channel or grey (Real-ESRGAN, arXiv 2107.10833, section 3.3).

The random numbers come from a CPU generator, so that a seed means the same noise on every device.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class NoisePlan:
    """Drawn noise: `strength` is sigma in 8-bit grey levels (gaussian) or the factor on shot noise (poisson)."""

    kind: Literal["gaussian", "poisson"]
    strength: float
    grey: bool
    levels: int | None
    seed: int


def add_noise(image: Tensor, plan: NoisePlan) -> Tensor:
    """Noisy copy of image (3, H, W), clamped to [0, 1]."""
    generator = torch.Generator().manual_seed(plan.seed)
    if plan.kind == "gaussian":
        shape = image[:1].shape if plan.grey else image.shape
        noise = torch.randn(shape, generator=generator) * (plan.strength / 255)
    else:
        noise = plan.strength * _shot_noise(image.detach().cpu(), plan, generator)
    return (image + noise.to(image)).clamp(0, 1)


def _shot_noise(image: Tensor, plan: NoisePlan, generator: torch.Generator) -> Tensor:
    """Poisson(levels x value) / levels - value; (1, H, W) if grey, else (3, H, W)."""
    if plan.grey:
        image = (image * torch.tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    image = (image.clamp(0, 1) * 255).round()
    levels = plan.levels or distinct_levels(image)
    rate = image * (levels / 255)
    return (torch.poisson(rate, generator=generator) - rate) / levels


def distinct_levels(image: Tensor) -> int:
    """Number of distinct values of an integer-valued image in 0..255, rounded up to a power of two."""
    count = int((torch.bincount(image.flatten().long(), minlength=256) > 0).sum())
    return 1 << (count - 1).bit_length()
