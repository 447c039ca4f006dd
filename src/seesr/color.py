"""Colour fixes: give a restored picture the colours of the photo it was made from (StableSR, section 3.4).

Both work on RGB in [0, 1] and may leave it; the caller clamps.
"""

import torch
from torch.nn import functional as F

WAVELET_DILATIONS = (1, 2, 4, 8, 16)
COLOR_FIXES = ("adain", "wavelet", "none")


def adain(image: torch.Tensor, reference: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Mean and standard deviation of each channel of `reference`, given to `image` (arXiv 1703.06868, eq. 8).

    Args:
        image, reference: (B, 3, h, w), RGB in [0, 1]; sizes may differ.
        eps: added to the unbiased variance under the root.
    """

    def mean_std(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + eps).sqrt()

    mean, std = mean_std(image)
    reference_mean, reference_std = mean_std(reference)
    return (image - mean) / std * reference_std + reference_mean


def _low_band(image: torch.Tensor) -> torch.Tensor:
    """What is left after blurring with [1 2 1]/4 both ways at each dilation in turn (à-trous, replicate padding)."""
    taps = image.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(taps, taps).expand(image.shape[1], 1, 3, 3)
    for dilation in WAVELET_DILATIONS:
        padded = F.pad(image, [dilation] * 4, mode="replicate")
        image = F.conv2d(padded, kernel, dilation=dilation, groups=image.shape[1])
    return image


def wavelet(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """High bands of `image` on the low band of `reference`, both (B, 3, h, w) of the same size."""
    return image - _low_band(image) + _low_band(reference)


def fix_color(image: torch.Tensor, reference: torch.Tensor, method: str) -> torch.Tensor:
    """Apply the colour fix called `method`, one of `COLOR_FIXES`; the result is clamped to [0, 1].

    Raises:
        ValueError: no such method.
    """
    if method == "adain":
        image = adain(image, reference)
    elif method == "wavelet":
        image = wavelet(image, reference)
    elif method != "none":
        raise ValueError(f"color_fix must be one of {', '.join(COLOR_FIXES)}, not {method!r}")
    return image.clamp(0, 1)
