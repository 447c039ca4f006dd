"""Colour profiles: a photo's own colours to sRGB, in which it is restored, and back to its own on the way out.

Conversions are Little CMS's, perceptual intent, 8 bit. What sRGB cannot hold (the strongest reds and greens of a
phone's Display P3) is not lost: the difference that the way there and back leaves is kept, and added to the result.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops, ImageCms

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_ROUNDING = 2
"""Levels of 255 by which 8-bit conversions there and back may differ without meaning anything."""
_ZERO = 128
"""The level that stands for no difference in the picture `beyond_srgb` returns."""


def profile_mode(profile: bytes) -> str | None:
    """Mode of the pictures a profile describes: RGB, L, CMYK or LAB; None if it is damaged or of another kind."""
    try:
        space = _opened(profile).profile.xcolor_space
    except (OSError, ImageCms.PyCMSError):
        return None
    return _MODES.get(space.strip())


@lru_cache(maxsize=8)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile of RGB pictures is sRGB under whatever name, judged by what it does to 17 levels a channel."""
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, -1, 3)  # (17, 289, 3)
    return _largest_difference(Image.fromarray(cube), to_srgb(Image.fromarray(cube), profile)) <= _ROUNDING


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Picture of a profile's mode → RGB in sRGB. `profile` None stands for the usual one of a LAB picture.

    Raises:
        ImageCms.PyCMSError: the profile cannot be used for this.
    """
    source = _opened(profile) if profile else ImageCms.createProfile("LAB")
    return _convert(image, source, ImageCms.createProfile("sRGB"), "RGB")


def from_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """RGB picture in sRGB → the colours and the mode (RGB or L) of `profile`.

    Raises:
        ImageCms.PyCMSError: the profile describes an input device only, or neither RGB nor grey pictures.
    """
    return _convert(image, ImageCms.createProfile("sRGB"), _opened(profile), profile_mode(profile) or "RGB")


def beyond_srgb(original: Image.Image, converted: Image.Image, profile: bytes) -> Image.Image | None:
    """What `original` has that `converted`, its version in sRGB, has not; None if that is only rounding.

    Returns:
        A picture of the original's mode and size: its colours minus those of `from_srgb(converted)`, plus 128, cut to
        0..255.
    """
    returned = from_srgb(converted, profile)
    if _largest_difference(original, returned) <= _ROUNDING:
        return None
    return ImageChops.subtract(original, returned, offset=_ZERO)


def add_beyond(image: Image.Image, beyond: Image.Image) -> Image.Image:
    """Add what `beyond_srgb` kept, enlarged bicubically, to a result in the photo's own colours."""
    return ImageChops.add(image, beyond.resize(image.size, Image.Resampling.BICUBIC), offset=-_ZERO)


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(BytesIO(profile))


def _convert(image: Image.Image, source: object, target: object, mode: str) -> Image.Image:
    transform = ImageCms.buildTransform(source, target, image.mode, mode)  # type: ignore[arg-type]
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None only for work in place
    converted.info.pop("icc_profile", None)
    return converted


def _largest_difference(a: Image.Image, b: Image.Image) -> int:
    return max(int(band.getextrema()[1]) for band in ImageChops.difference(a, b).split())  # type: ignore[arg-type]
