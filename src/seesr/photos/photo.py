"""Photos in and out: what a file's pixels mean (orientation, colours, transparency, depth), and a result made like it.

`read_photo` gives an upright picture in sRGB and sets all else aside in `Photo`; `finish_photo` puts that back onto the
restored picture; `write_photo` brings it to disk.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.ImageCms import PyCMSError

from seesr.photos.files import (
    MAX_PIXELS,
    load_image,
    name_note,
    quiet_pillow,
)
from seesr.photos.icc import add_beyond, beyond_srgb, from_srgb, is_srgb, profile_mode, to_srgb

_SUBFOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# tags of EXIF's first directory that tell of the photo; the others tell how one file stores its pixels
_KEPT_TAGS = frozenset(
    {
        *(270, 271, 272, 282, 283, 296, 305, 306, 315, 316),  # description, camera, resolution, software, date, artist
        *(18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095),  # rating, copyright, Windows' title and so on
        *_SUBFOLDERS,
    }
)
_WIDTH_TAG, _HEIGHT_TAG = 0xA002, 0xA003  # PixelXDimension, PixelYDimension
_STALE_XMP = re.compile(
    rb"""\s(?:tiff:Orientation|tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension)=(?:"[^"]*"|'[^']*')"""
    rb"""|<(tiff:Orientation|tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension|xmp:Thumbnails)\b.*?</\1>""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Photo:
    """A photo as it is meant to be seen, and what its result is to be given back.

    rgb: mode RGB, upright, in sRGB; where wholly transparent, the colours of what is near.
    alpha: mode L, the same size, or None. gray: the file has no colours, nor shall the result.
    icc_profile: to be written with the result, of RGB or (where `gray`) grey pictures.
    beyond_srgb: what of the photo's colours sRGB cannot hold (see photo_color), or None.
    exif: EXIF block without orientation, thumbnail and storage tags; xmp: likewise; dpi: (x, y). None if there is none.
    deep: the file has more than 8 bits a channel; they are read as 8.
    notes: for the user, one line each: what of the file is not kept.
    """

    rgb: Image.Image
    alpha: Image.Image | None = None
    gray: bool = False
    icc_profile: bytes | None = None
    beyond_srgb: Image.Image | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    deep: bool = False
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------------------- reading


def read_photo(path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read the first frame of an image file; its content decides the format, not its name.

    16-bit grey is taken as 0..65535 and floating-point grey as 0..1, whatever values occur; more is cut off.

    Raises:
        SeesrError: no such file, not a picture, cut short or damaged, or more than `max_pixels`.
    """
    image, stored, frames = load_image(path, max_pixels)
    notes = [note] if (note := name_note(image, path)) else []
    if frames > 1:
        notes.append("several frames or pages: only the first is restored")
    exif = _upright(image, notes)

    # Transparency and depth
    # BGR;16: 16 bits for all three
    deep = (";16" in stored and not stored.startswith("BGR")) or image.mode[0] in "IF"
    image, alpha = _to_eight_bit(image, stored)
    gray = image.mode in ("1", "L", "LA", "La") or stored in ("LA", "LA;16B")
    if alpha is None and image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")

    # Colours
    own = image if image.mode in ("CMYK", "LAB") else image.convert("L" if gray else "RGB")
    rgb, profile = _to_srgb(own, image.info.get("icc_profile"), notes)
    beyond = beyond_srgb(own, rgb, profile) if profile and rgb is not own else None
    if alpha is not None:
        rgb = _spread_colors(rgb, alpha)

    xmp, dpi = image.info.get("xmp"), image.info.get("dpi")
    return Photo(
        rgb=rgb if rgb.mode == "RGB" else rgb.convert("RGB"),
        alpha=alpha,
        gray=gray,
        icc_profile=profile,
        beyond_srgb=beyond,
        exif=exif,
        xmp=_STALE_XMP.sub(b"", xmp.encode() if isinstance(xmp, str) else xmp) if xmp else None,
        deep=deep,
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 1 else None,  # (1, 1) is Pillow's for "not known"
        notes=tuple(notes),
    )


def _upright(image: Image.Image, notes: list[str]) -> bytes | None:
    """Turn the picture upright, in place; returns its EXIF block without what is no longer true of it."""
    with quiet_pillow():
        try:
            ImageOps.exif_transpose(image, in_place=True)
            found, kept = image.getexif(), Image.Exif()
            for tag in _KEPT_TAGS & set(found):
                kept[tag] = dict(found.get_ifd(tag)) if tag in _SUBFOLDERS else found[tag]
            return kept.tobytes() if len(kept) else None
        except Exception:  # broken EXIF is no reason to refuse a photo, and its parser raises nearly anything
            notes.append("its EXIF data are damaged and were left out")
            return None


def _to_eight_bit(image: Image.Image, stored: str) -> tuple[Image.Image, Image.Image | None]:
    """Grey of more than 8 bits → (mode L, its transparency if it has a colour key); others unchanged."""
    if image.mode[0] not in "IF":
        if stored == "RGB;16B" and "transparency" in image.info:  # a colour key: cut to 8 bits as the pixels are
            image.info["transparency"] = tuple(level >> 8 for level in image.info["transparency"])
        return image, None
    values = np.asarray(image)  # (h, w)
    top = 1 if image.mode == "F" else 4095 if stored == "I;12" else 65535
    levels = np.nan_to_num(values.astype(np.float32)).clip(0, top) * (255 / top)
    gray = Image.fromarray(levels.round().astype(np.uint8))
    gray.info = {name: value for name, value in image.info.items() if name != "transparency"}
    key = image.info.get("transparency")
    return gray, None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))


def _to_srgb(own: Image.Image, profile: bytes | None, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """(picture in sRGB, profile the result is to have); the picture itself where nothing is to be converted."""
    if own.mode not in ("RGB", "L"):
        notes.append(f"{own.mode} was converted to sRGB")
    if profile and profile_mode(profile) != own.mode:
        notes.append("its colour profile is damaged or of another kind of picture, and was ignored")
        profile = None
    try:
        if profile and own.mode == "RGB" and is_srgb(profile):
            return own, profile
        rgb = to_srgb(own, profile) if profile or own.mode == "LAB" else own
    except PyCMSError:
        notes.append("its colour profile cannot be used, and was ignored")
        return own, None
    if own.mode not in ("RGB", "L"):
        return rgb, None
    try:
        if profile:
            from_srgb(Image.new("RGB", (1, 1)), profile)
        return rgb, profile
    except PyCMSError:  # profiles of scanners lead one way only
        notes.append("its colour profile leads one way only: the result is in sRGB")
        return rgb, None


def _spread_colors(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Give wholly transparent pixels the colours near them, so that theirs, unseen till now, colour no edge.

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


# -------------------------------------------------------------------------------------------------------- finishing


def finish_photo(result: Image.Image, photo: Photo) -> Image.Image:
    """Make the restored picture what the photo was: its colour profile, grey, transparency and metadata.

    Args:
        result: RGB in sRGB, at output size.

    Returns:
        RGB, RGBA, L or LA; its `info` has what `write_photo` puts into the file.
    """
    if photo.icc_profile and (photo.gray or not is_srgb(photo.icc_profile)):
        image = from_srgb(result, photo.icc_profile)
    else:
        image = result.convert("L") if photo.gray else result.copy()
    if photo.beyond_srgb is not None:
        image = add_beyond(image, photo.beyond_srgb)
    if photo.alpha is not None:
        image.putalpha(photo.alpha.resize(result.size, Image.Resampling.BICUBIC))
    image.info = metadata(photo, result.size)
    return image


def metadata(photo: Photo, size: tuple[int, int]) -> dict[Any, Any]:
    """The `info` of a result of `size` (width, height)."""
    exif = _with_size(photo.exif, size) if photo.exif else None
    kept = {"icc_profile": photo.icc_profile, "exif": exif, "xmp": photo.xmp, "dpi": photo.dpi}
    return {name: value for name, value in kept.items() if value}


def _with_size(exif: bytes, size: tuple[int, int]) -> bytes:
    tags = Image.Exif()
    tags.load(exif)
    details = tags.get_ifd(ExifTags.IFD.Exif)
    for tag, value in zip((_WIDTH_TAG, _HEIGHT_TAG), size):
        if tag in details:
            details[tag] = value
    return tags.tobytes()


# ---------------------------------------------------------------------------------------------------- representations
