"""Resizing between any two sizes, in the modes of Real-ESRGAN's degradation (arXiv 2107.10833, section 3.2)."""

import torch.nn.functional as F
from torch import Tensor

from seesr.degradation.presets import ResizeMode


def resize(image: Tensor, size: tuple[int, int], mode: ResizeMode) -> Tensor:
    """Bring image (3, H, W) to `size` (height, width).

    `bilinear` and `bicubic` sample without a low-pass, so they alias when they shrink: part of the degradation.
    `area` averages, `bicubic_antialias` widens the kernel with the factor as photo editors do.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    if mode == "area":
        return F.interpolate(image[None], size=size, mode="area")[0]
    antialias = mode == "bicubic_antialias"
    name = "bicubic" if antialias else mode
    return F.interpolate(image[None], size=size, mode=name, align_corners=False, antialias=antialias)[0]
