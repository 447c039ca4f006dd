"""Transparency: hidden colours that must not show, and outlines as sharp as the picture inside them."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from seesr.photos.pictures import Picture, Picture16
from seesr.photos.tiff import Samples


def spread_colors(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Give wholly transparent pixels the colours near them, so hidden colours don't bleed into edges.

    Means over ever larger squares of the pixels that count (a pyramid of halvings), read back from coarse to fine.
    """
    visible = alpha.point(lambda value: 255 if value else 0)
    if visible.getextrema()[0] == 255 or visible.getbbox() is None:
        return rgb
    levels = [rgb.copy()]
    levels[0].putalpha(visible)
    while levels[-1].getchannel("A").getextrema()[0] == 0:
        coarser = levels[-1].reduce(2)  # premultiplied by Pillow: means of visible pixels only
        coarser.putalpha(coarser.getchannel("A").point(lambda value: 255 if value else 0))
        levels.append(coarser)
    filled = levels.pop().convert("RGB")
    for level in reversed(levels):
        box = (0, 0, level.width / 2, level.height / 2)
        filled = filled.resize(level.size, Image.Resampling.BILINEAR, box)
        filled.paste(level.convert("RGB"), mask=level.getchannel("A"))
    return filled


def restore_alpha(
    alpha: Image.Image, size: tuple[int, int], enlarge: Callable[[Image.Image], Picture] | None = None
) -> Image.Image:
    """Transparency at the size of the result, its outline restored as the picture is.

    Args:
        alpha: mode L, of the photo's size.
        size: (width, height) of the result.
        enlarge: restores an RGB picture; None: bicubic. It is given the transparency as grey. What it makes stays
            between the least and the largest value within two pixels, so what is opaque or clear stays so.

    Returns:
        Mode L, of `size`.
    """
    if enlarge is None or alpha.getextrema()[0] == alpha.getextrema()[1]:
        return alpha.resize(size, Image.Resampling.BICUBIC)
    restored = enlarge(Image.merge("RGB", [alpha] * 3))
    gray = (restored.rounded() if isinstance(restored, Picture16) else restored).convert("L")
    if gray.size != size:
        gray = gray.resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(np.asarray(gray).clip(*_nearby(alpha, size)))


def restore_alpha16(
    alpha: Samples, size: tuple[int, int], enlarge: Callable[[Picture16], Picture] | None = None
) -> Samples:
    """As `restore_alpha`, of (h, w) in 0..65535."""
    picture = Picture16(np.repeat(alpha[..., None], 3, axis=2))
    if enlarge is None or alpha.min() == alpha.max():
        return picture.resize(size).values[..., 1]
    restored = enlarge(picture)
    fine = restored if isinstance(restored, Picture16) else Picture16.of(restored)
    low, high = _nearby(Image.fromarray(alpha.astype(np.int32)), size)
    values = (fine if fine.size == size else fine.resize(size)).values[..., 1]
    return values.clip(low, high).astype(np.uint16)


def _nearby(alpha: Image.Image, size: tuple[int, int]) -> list[np.ndarray]:
    """The least and the largest value within two pixels, for each pixel of the result."""
    filters = ImageFilter.MinFilter(5), ImageFilter.MaxFilter(5)
    return [np.asarray(alpha.filter(kind).resize(size, Image.Resampling.NEAREST)) for kind in filters]
