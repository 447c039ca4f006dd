"""The end of a restoration: the photo's colours put back (`seesr.color`) and 8 bits a channel.

The colour fix reads and writes 8-bit pictures, as published. Pictures of up to `whole_pixels` go through it in one
piece, larger ones in strips: AdaIN's means and deviations are then taken from histograms, which hold all that 8-bit
pictures have, and the wavelet's strips overlap by as far as it reaches.
"""

from typing import Any

import torch

from seesr import color
from seesr.deep import DeepPicture, Picture
from seesr.images import to_picture, to_tensor


def fix_colors(restored: Any, enlarged: Any, method: str, strip_pixels: int) -> Any:
    """`restored` with the colours of `enlarged`, of the same size; the result is cut, not rounded, to 8 bits.

    Both may be of 16 bits (`DeepPicture`); the result is then rounded to as many. `restored` itself may be what is
    returned, changed.

    Args:
        method: one of `seesr.color.COLOR_FIXES`.
        strip_pixels: about how many pixels are held in floating point at once.
    """
    if method == "none":
        return restored
    deep = isinstance(restored, DeepPicture)
    if restored.width * restored.height <= strip_pixels:
        fixed = color.fix_color(to_tensor(restored), to_tensor(enlarged), method)
        return to_picture(fixed, deep, truncate=True)
    reach = color.WAVELET_REACH if method == "wavelet" else 0
    statistics = [*_mean_std(restored), *_mean_std(enlarged)] if method == "adain" else []
    height = max(1, reach, strip_pixels // restored.width - 2 * reach)
    strips: list[tuple[Any, tuple[int, int]]] = []
    for top in range(0, restored.height, height):
        bottom = min(top + height, restored.height)
        above, below = max(0, top - reach), min(bottom + reach, restored.height)
        image, reference = (to_tensor(x.crop((0, above, x.width, below))) for x in (restored, enlarged))
        while strips:  # the strip before this one, now that its last rows have been read once more
            restored.paste(*strips.pop())
        strip = color.restyle(image, *statistics) if statistics else color.wavelet(image, reference)
        strips.append((to_picture(strip[..., top - above : bottom - above, :], deep, truncate=True), (0, top)))
    restored.paste(*strips.pop())
    return restored


def _mean_std(picture: Picture) -> tuple[torch.Tensor, torch.Tensor]:
    """As `seesr.color.mean_std` of the picture's values in [0, 1], each (1, 3, 1, 1)."""
    counts = torch.tensor(picture.histogram(), dtype=torch.float64).view(3, 256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    pixels = counts.sum(1)
    mean = (counts @ levels) / pixels
    variance = (counts * (levels - mean[:, None]).square()).sum(1) / (pixels - 1)
    std = (variance + color.EPS).sqrt()
    return mean.float().view(1, 3, 1, 1), std.float().view(1, 3, 1, 1)
