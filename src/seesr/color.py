"""Colour fixes: give a restored picture the colours of the photo it was made from (StableSR, section 3.4).

Both work on RGB in [0, 1] and may leave it; the caller clamps.
"""

import torch
from torch.nn import functional as F

WAVELET_DILATIONS = (1, 2, 4, 8, 16)
WAVELET_REACH = sum(WAVELET_DILATIONS)
"""Pixels around a pixel that decide on its low band."""
EPS = 1e-5
"""Added to the (unbiased) variance under AdaIN's root."""
COLOR_FIXES = ("adain", "wavelet", "none")


def mean_std(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel of (B, 3, h, w), both (B, 3, 1, 1)."""
    return image.mean((2, 3), keepdim=True), (image.var((2, 3), keepdim=True) + EPS).sqrt()


def restyle(
    image: torch.Tensor,
    mean: torch.Tensor,
    std: torch.Tensor,
    reference_mean: torch.Tensor,
    reference_std: torch.Tensor,
) -> torch.Tensor:
    """`image`, of which `mean` and `std` are those of each channel, brought to others (arXiv 1703.06868, eq. 8)."""
    return (image - mean) / std * reference_std + reference_mean


def adain(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation of each channel of `reference`, given to `image`.

    Args:
        image, reference: (B, 3, h, w), RGB in [0, 1]; sizes may differ.
    """
    return restyle(image, *mean_std(image), *mean_std(reference))


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
