"""Blur kernels of Real-ESRGAN's degradation (arXiv 2107.10833, sections 3.1 and 3.4) and two optical ones.

With q = x^T S^-1 x for the covariance S of a rotated ellipse, the families are Gaussian exp(-q/2), generalized Gaussian
exp(-q^b/2) and plateau 1/(1 + q^b). The sinc is a circular ideal low-pass, which rings as resampling and sharpening do.
Disc (defocus) and motion (a line drawn with a soft pen) are parametrised by their standard deviations too.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seesr.degradation.presets import KernelKind

_SUBPIXELS = 5  # per pixel and axis, for the edge of the disc
_DIRECT_PRODUCTS = 1e8  # up to so many a convolution is made directly


@dataclass(frozen=True)
class Kernel:
    """One drawn kernel.

    kind: family; `size`: odd width in pixels; `sigma`: standard deviations along the two axes in pixels (equal for the
    isotropic kinds; for the generalized and plateau families they set S, for motion the first is along the line);
    `angle`: of the first axis, in radians; `beta`: exponent b; `cutoff`: of the sinc, in radians per pixel.
    """

    kind: KernelKind
    size: int
    sigma: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    beta: float = 1.0
    cutoff: float = 0.0

    def weights(self) -> Tensor:
        """The kernel as float32 (size, size), rows are y, sum 1."""
        offsets = torch.arange(self.size, dtype=torch.float64) - self.size // 2
        y, x = torch.meshgrid(offsets, offsets, indexing="ij")  # (size, size) each
        if self.kind == "sinc":
            values = _sinc(torch.hypot(x, y), self.cutoff)
        elif self.kind == "disc":
            values = _disc(self.size, radius=2 * self.sigma[0])
        else:
            u = x * math.cos(self.angle) + y * math.sin(self.angle)
            v = y * math.cos(self.angle) - x * math.sin(self.angle)
            if self.kind == "motion":
                values = _line(u, v, *self.sigma)
            else:
                q = (u / self.sigma[0]).square() + (v / self.sigma[1]).square()
                power = q.pow(self.beta)
                values = 1 / (1 + power) if self.kind.startswith("plateau") else torch.exp(-power / 2)
        return (values / values.sum()).float()


def _sinc(radius: Tensor, cutoff: float) -> Tensor:
    """Impulse response of the circular low-pass: w J1(w r) / (2 pi r), and w^2 / (4 pi) at r = 0."""
    safe = radius.clamp(min=1e-9)
    ring = cutoff * torch.special.bessel_j1(cutoff * safe) / (2 * math.pi * safe)
    return torch.where(radius == 0, torch.full_like(radius, cutoff**2 / (4 * math.pi)), ring)


def _disc(size: int, radius: float) -> Tensor:
    """Share of each pixel that a disc covers; a disc of radius r has the variance r^2 / 4 on each axis."""
    fine = (torch.arange(size * _SUBPIXELS, dtype=torch.float64) + 0.5) / _SUBPIXELS - size / 2
    inside = (fine[:, None].square() + fine.square() <= radius**2).double()
    return F.avg_pool2d(inside[None], _SUBPIXELS)[0]


def _line(u: Tensor, v: Tensor, along: float, across: float) -> Tensor:
    """A line of half-length h convolved with a Gaussian pen; h^2 / 3 + across^2 = along^2."""
    half = math.sqrt(3 * max(along**2 - across**2, 1e-6))
    soft = math.sqrt(2) * across
    return (torch.erf((u + half) / soft) - torch.erf((u - half) / soft)) * torch.exp(-(v / soft).square())


def blur(image: Tensor, weights: Tensor) -> Tensor:
    """Convolve image (3, H, W) with weights (size, size), mirrored at the borders (repeated if smaller than that).

    Large products go through the Fourier transform: the same sums, rounded differently, several times as fast.
    """
    height, width = image.shape[-2:]
    size = weights.shape[-1]
    pad = size // 2
    mode = "reflect" if pad < min(height, width) else "replicate"
    padded = F.pad(image[None], (pad, pad, pad, pad), mode=mode)[0]  # (3, H + 2 pad, W + 2 pad)
    weights = weights.to(image)
    if weights.numel() * image.numel() <= _DIRECT_PRODUCTS:
        return F.conv2d(padded[None], weights.expand(3, 1, size, size), groups=3)[0]
    shape = [-(-side // 64) * 64 for side in padded.shape[-2:]]  # lengths of small factors are fast
    spectrum = torch.fft.rfft2(padded, s=shape) * torch.fft.rfft2(weights.flip(0, 1), s=shape)
    first = size - 1  # what wraps around lies before
    blurred: Tensor = torch.fft.irfft2(spectrum, s=shape)
    return blurred[:, first : first + height, first : first + width]


def sharpen(image: Tensor, weight: float = 0.5, radius: int = 50, threshold: float = 10 / 255) -> Tensor:
    """Unsharp masking of image (3, H, W) in [0, 1], as Real-ESRGAN sharpens its targets.

    Adds `weight` x the difference from a blur of `radius`, only where (softly) that difference exceeds `threshold`.
    The Gaussian has the width that OpenCV gives a window of `radius` + 1 pixels.
    """
    size = radius + 1 - radius % 2
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    gaussian = Kernel("iso", size, (sigma, sigma)).weights()
    detail = image - blur(image, gaussian)
    mask = blur((detail.abs() > threshold).to(image), gaussian)
    return image + mask * ((image + weight * detail).clamp(0, 1) - image)
