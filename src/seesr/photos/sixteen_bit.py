"""Pictures of 16 bits a channel: their colours, there and back, and their files.

Colours are converted by Little CMS in 16 bits, files are written by imagecodecs and tifffile (extra `sixteen`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from seesr.errors import SeesrError
from seesr.photos.alpha import restore_alpha16
from seesr.photos.decode import has_sixteen_bits
from seesr.photos.icc import is_srgb
from seesr.photos.pictures import LEVELS, Picture, Picture16
from seesr.photos.tiff import Samples

if TYPE_CHECKING:
    from seesr.photos.photo import Photo

SIXTEEN_BIT_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
"""Suffixes of files that are written with 16 bits a channel. (Of JPEG XL imagecodecs marks 16 bits as linear light.)"""

_LUMA = np.array([0.299, 0.587, 0.114])  # Pillow's grey
_EXACT = 0x100  # no tables in place of the profile's curves: Little CMS's cmsFLAGS_NOOPTIMIZE
_ROUNDING = 64  # levels of 65535 by which conversions there and back may differ without meaning anything


@dataclass(frozen=True)
class Sixteen:
    """A photo's pixels in 16 bits, upright.

    rgb: in sRGB; alpha: (h, w), or None; beyond_srgb: (h, w, 1 or 3), what of the photo's own colours sRGB cannot hold,
    in levels of 65535, or None.
    """

    rgb: Picture16
    alpha: Samples | None = None
    beyond_srgb: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Result16:
    """A finished picture. values: (h, w, channels), uint16, channels L, LA, RGB or RGBA. info: as of 8-bit results."""

    values: Samples
    info: dict[Any, Any]

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.values.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.values.shape[0])

    def rounded(self) -> Image.Image:
        """The same in 8 bits."""
        values = ((self.values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
        image.info = dict(self.info)
        return image


@cache
def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def convert(values: Samples, source: bytes | None, target: bytes | None) -> Samples:
    """(h, w, 1, 3 or 4) from one profile's colours to another's, None for sRGB; perceptual intent.

    Raises:
        Exception: a profile that is damaged or cannot be used so.
    """
    import imagecodecs

    def space(profile: bytes | None) -> str:
        return {b"GRAY": "gray", b"CMYK": "cmyk"}.get(profile[16:20] if profile else b"", "rgb")

    if space(source) == "gray":
        values = values[..., 0]
    converted = imagecodecs.cms_transform(
        np.ascontiguousarray(values),
        source or _srgb(),
        target or _srgb(),
        colorspace=space(source),
        outcolorspace=space(target),
        outdtype=np.uint16,
        intent=0,
        flags=_EXACT,
    )
    channels = 1 if space(target) == "gray" else 3
    return np.asarray(converted, np.uint16).reshape(*values.shape[:2], channels)


def to_srgb(colors: Samples, profile: bytes | None) -> tuple[Picture16, npt.NDArray[np.float32] | None]:
    """(h, w, 1 or 3) in a photo's own colours → in sRGB, and what sRGB cannot hold."""
    if profile is None or (colors.shape[2] == 3 and is_srgb(profile)):
        return Picture16(np.repeat(colors, 3, axis=2) if colors.shape[2] == 1 else colors), None
    rgb = convert(colors, profile, None)
    beyond = colors.astype(np.float32) - convert(rgb, None, profile)
    return Picture16(rgb), beyond if np.abs(beyond).max() > _ROUNDING else None


def finish_sixteen(
    result: Picture16, photo: "Photo", enlarge: Callable[[Picture16], Picture] | None = None
) -> Result16:
    """Make a restored picture of 16 bits what the photo was, as `seesr.photos.photo.finish_photo` does for one of 8.

    Args:
        result: in sRGB, at output size. enlarge: for the transparency, see `seesr.photos.alpha.restore_alpha`.
    """
    profile, size = photo.icc_profile, result.size
    if profile and (photo.gray or not is_srgb(profile)):
        own = convert(result.values, None, profile)
    elif photo.gray:
        own = (result.values @ _LUMA).round().astype(np.uint16)[..., None]
    else:
        own = result.values
    fine = photo.sixteen
    if fine and fine.beyond_srgb is not None:
        planes = [Image.fromarray(fine.beyond_srgb[..., i]) for i in range(fine.beyond_srgb.shape[2])]
        added = np.stack([np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes], -1)
        own = (own + added).round().clip(0, LEVELS).astype(np.uint16)
    elif photo.beyond_srgb is not None:
        larger = np.asarray(photo.beyond_srgb.resize(size, Image.Resampling.BICUBIC), np.int32).reshape(own.shape)
        own = (own + (larger - 128) * 257).clip(0, LEVELS).astype(np.uint16)
    if photo.alpha is not None:
        alpha = fine.alpha if fine and fine.alpha is not None else np.asarray(photo.alpha).astype(np.uint16) * 257
        own = np.concatenate([own, restore_alpha16(alpha, size, enlarge)[..., None]], -1)
    return Result16(own, photo.info_for(size))


def check_sixteen(path: Path) -> None:
    """Whether a file of that name can have 16 bits a channel.

    Raises:
        SeesrError: it cannot, or the libraries for it are not installed.
    """
    if path.suffix.lower() not in SIXTEEN_BIT_SUFFIXES:
        raise SeesrError(f"{path}: {path.suffix} files have 8 bits a channel; for `bits` 16 use `ext` png or tiff")
    if not has_sixteen_bits():
        raise SeesrError("`bits` 16 needs two more libraries: pip install imagecodecs tifffile")


def choose_bits(photo: "Photo", path: Path, bits: int | None = None) -> int:
    """Bits a channel of the result: as asked for, else 16 where the photo has them and the file `path` can hold them.

    Raises:
        SeesrError: `check_sixteen`'s reasons, where 16 are asked for.
    """
    if bits == 16:
        check_sixteen(path)
    if bits is not None:
        return bits
    return 16 if photo.sixteen and path.suffix.lower() in SIXTEEN_BIT_SUFFIXES else 8
