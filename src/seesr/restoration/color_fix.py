"""Colour fixes: give a restored picture the colours of the photo it was made from (StableSR, section 3.4).

The operations work on RGB in [0, 1] and may leave it. The fix itself reads and writes 8-bit pictures, as published.
Pictures of up to `strip_pixels` go through it in one piece, larger ones in strips: AdaIN's means and deviations then
come from histograms, which hold all that 8-bit pictures have, and the wavelet's strips overlap by as far as it reaches.
"""

from typing import Any

import torch
from torch.nn import functional as F

from seesr.photos.pictures import Picture, Picture16, to_picture, to_tensor
from seesr.restoration.settings import ColorFix

WAVELET_DILATIONS = (1, 2, 4, 8, 16)
WAVELET_REACH = sum(WAVELET_DILATIONS)
"""Pixels around a pixel that decide on its low band."""
EPS = 1e-5
"""Added to the (unbiased) variance under AdaIN's root."""


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


def fix_color(image: torch.Tensor, reference: torch.Tensor, method: ColorFix) -> torch.Tensor:
    """Apply the colour fix called `method`, a `ColorFix`; the result is clamped to [0, 1].

    Raises:
        ValueError: no such method.
    """
    if method == "adain":
        image = adain(image, reference)
    elif method == "wavelet":
        image = wavelet(image, reference)
    elif method != "none":
        raise ValueError(f"no colour fix {method!r}")
    return image.clamp(0, 1)


def fix_colors(restored: Any, enlarged: Any, method: ColorFix, strip_pixels: int) -> Any:
    """`restored` with the colours of `enlarged`, of the same size; the result is cut, not rounded, to 8 bits.

    Both may be of 16 bits (`Picture16`); the result is then rounded to as many. `restored` itself may be what is
    returned, changed.

    Args:
        method: a `ColorFix`.
        strip_pixels: about how many pixels are held in floating point at once.
    """
    if method == "none":
        return restored
    sixteen_bit = isinstance(restored, Picture16)
    if restored.width * restored.height <= strip_pixels:
        fixed = fix_color(to_tensor(restored), to_tensor(enlarged), method)
        return to_picture(fixed, sixteen_bit, truncate=True)
    reach = WAVELET_REACH if method == "wavelet" else 0
    statistics = [*_mean_std(restored), *_mean_std(enlarged)] if method == "adain" else []
    height = max(1, reach, strip_pixels // restored.width - 2 * reach)
    strips: list[tuple[Any, tuple[int, int]]] = []
    for top in range(0, restored.height, height):
        bottom = min(top + height, restored.height)
        above, below = max(0, top - reach), min(bottom + reach, restored.height)
        image, reference = (to_tensor(x.crop((0, above, x.width, below))) for x in (restored, enlarged))
        while strips:  # the strip before this one, now that its last rows have been read once more
            restored.paste(*strips.pop())
        strip = restyle(image, *statistics) if statistics else wavelet(image, reference)
        strips.append((to_picture(strip[..., top - above : bottom - above, :], sixteen_bit, truncate=True), (0, top)))
    restored.paste(*strips.pop())
    return restored


def _mean_std(picture: Picture) -> tuple[torch.Tensor, torch.Tensor]:
    """As `mean_std` of the picture's values in [0, 1], each (1, 3, 1, 1)."""
    counts = torch.tensor(picture.histogram(), dtype=torch.float64).view(3, 256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    pixels = counts.sum(1)
    mean = (counts @ levels) / pixels
    variance = (counts * (levels - mean[:, None]).square()).sum(1) / (pixels - 1)
    std = (variance + EPS).sqrt()
    return mean.float().view(1, 3, 1, 1), std.float().view(1, 3, 1, 1)
