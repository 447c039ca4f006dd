"""Photos in and out: what a file's pixels mean (orientation, colours, transparency, depth), and a result made like it.

`read_photo` gives an upright picture in sRGB and sets all else aside in `Photo`; `finish_photo` puts that back onto the
restored picture; `seesr.photos.files.write_photo` brings it to disk.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from PIL.ImageCms import PyCMSError

from seesr.photos import hdr
from seesr.photos.alpha import restore_alpha, spread_colors
from seesr.photos.decode import MAX_PIXELS, Fine, Loaded, has_sixteen_bits, load_photo, quiet_pillow
from seesr.photos.icc import add_beyond, beyond_srgb, from_srgb, is_srgb, profile_mode
from seesr.photos.icc import to_srgb as convert_to_srgb
from seesr.photos.kinds import FORMAT_OF
from seesr.photos.metadata import Metadata, Strip
from seesr.photos.pictures import LEVELS, Picture, Picture16
from seesr.photos.sixteen_bit import Sixteen, convert, to_srgb
from seesr.photos.tiff import Samples

_TURNS = {2: "fliplr", 3: "rot2", 4: "flipud", 5: "t", 6: "t fliplr", 7: "rot2 t", 8: "t flipud"}


@dataclass(frozen=True)
class Photo:
    """A photo as it is meant to be seen, and what its result is to be given back.

    rgb: mode RGB, upright, in sRGB; where wholly transparent, the colours of what is near.
    alpha: mode L, the same size, or None. gray: the file has no colours, nor shall the result.
    icc_profile: to be written with the result, of RGB or (where `gray`) grey pictures.
    beyond_srgb: what of the photo's colours sRGB cannot hold (see `seesr.photos.icc`), or None.
    metadata: as in the file. in_srgb: the colours were brought to sRGB for good.
    bits: 16 if the file has more than 8 a channel. sixteen: then the same pixels in 16 bits, if they could be read so.
    notes: for the user, one line each: what of the file is not kept, or was taken otherwise than it stands there.
    strip: what of the metadata the result shall lack.
    """

    rgb: Image.Image
    alpha: Image.Image | None = None
    gray: bool = False
    icc_profile: bytes | None = None
    beyond_srgb: Image.Image | None = None
    metadata: Metadata = field(default_factory=Metadata)
    in_srgb: bool = False
    bits: int = 8
    sixteen: Sixteen | None = None
    notes: tuple[str, ...] = ()
    strip: Strip = "none"

    def picture(self, bits: int) -> Picture:
        """What to restore where the result shall have 8 or 16 `bits` a channel."""
        return self.sixteen.rgb if bits == 16 and self.sixteen else self.rgb

    def info_for(self, size: tuple[int, int]) -> dict[Any, Any]:
        """The `info` of a result of `size` (width, height): "icc_profile" (bytes) and "metadata" (`Metadata`)."""
        info: dict[Any, Any] = {"metadata": self.metadata.cleaned(size, self.in_srgb, self.strip)}
        return info | {"icc_profile": self.icc_profile} if self.icc_profile else info


# ---------------------------------------------------------------------------------------------------------- reading


def read_photo(path: Path, max_pixels: int = MAX_PIXELS, strip: Strip = "none") -> Photo:
    """Read the first frame of an image file; its content decides the format, not its name.

    16-bit samples are taken as 0..65535 and floating-point ones as 0..1, whatever values occur; more is cut off.

    Raises:
        SeesrError: no such file, not a picture, of a kind that is not read, cut short or damaged, or more than
            `max_pixels`.
    """
    loaded = load_photo(path, max_pixels)
    notes = [note] if (note := _name_note(loaded.format, path)) else []
    if loaded.frames > 1:
        notes.append("several frames or pages: only the first is restored")
    notes += loaded.notes
    loaded = _upright(loaded, notes)
    fine = loaded.fine
    profile, in_srgb = loaded.info.get("icc_profile"), False
    if fine is None and loaded.image is not None:
        image, alpha, fine = _to_eight_bit(loaded.image, loaded.stored)
    else:
        fine, profile, in_srgb = _colors_of_fine(
            fine or Fine(np.zeros((1, 1, 1), np.uint16), None, "L"), profile, notes
        )
        image, alpha = _rounded(fine)
    sixteen_bits = loaded.fine is not None or fine is not None or ";16" in loaded.stored.removeprefix("BGR;16")

    # Transparency
    gray = image.mode in ("1", "L", "LA", "La") or loaded.stored in ("LA", "LA;16B")
    if alpha is None and image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")

    # Colours
    own = image if image.mode in ("CMYK", "LAB") else image.convert("L" if gray else "RGB")
    if loaded.transfer:
        own, fine, gray, in_srgb = _by_transfer(own, fine, loaded.transfer, gray, notes)
        profile = None if in_srgb else profile
    rgb, kept = _to_srgb(own, profile, notes)
    in_srgb = in_srgb or own.mode in ("CMYK", "LAB") or (profile is not None and kept is None)
    beyond = beyond_srgb(own, rgb, kept) if kept and rgb is not own else None
    if alpha is not None:
        rgb = spread_colors(rgb, alpha)
    rgb = rgb if rgb.mode == "RGB" else rgb.convert("RGB")
    sixteen = _sixteen(fine, rgb, profile, kept, alpha) if fine and has_sixteen_bits() else None
    if sixteen_bits and sixteen is None:
        notes.append("more than 8 bits a channel, read as 8" + _WHY_EIGHT.get(has_sixteen_bits(), ""))
    return Photo(
        rgb=rgb,
        alpha=alpha,
        gray=gray,
        icc_profile=kept,
        beyond_srgb=beyond,
        metadata=loaded.metadata,
        in_srgb=in_srgb,
        bits=16 if sixteen_bits else 8,
        sixteen=sixteen,
        notes=tuple(notes),
        strip=strip,
    )


_WHY_EIGHT = {False: "; for all of them: pip install imagecodecs tifffile"}


def _name_note(content: str, path: Path) -> str | None:
    """What the user should know of a file whose content is not what its name says."""
    content = {"MPO": "JPEG", "DIB": "BMP"}.get(content, content)
    named = FORMAT_OF.get(path.suffix.lower())
    return f"a {content} file, whatever its name says" if named not in (None, content) else None


def _upright(loaded: Loaded, notes: list[str]) -> Loaded:
    """The picture turned upright; EXIF's word counts, then XMP's."""
    if loaded.metadata.damaged:
        notes.append("its EXIF data are damaged and were left out")
    turn = loaded.metadata.orientation
    if loaded.image is not None:
        with quiet_pillow():
            before = loaded.image.size
            try:
                turn = int(loaded.image.getexif().get(274, 1))
                ImageOps.exif_transpose(loaded.image, in_place=True)
            except Exception:  # broken EXIF is no reason to refuse a photo, and its parser raises nearly anything
                turn = 1 if loaded.image.size == before else 6
    fine = loaded.fine
    if fine and turn in _TURNS:
        alpha = None if fine.alpha is None else _turned(fine.alpha, turn)
        fine = Fine(_turned(fine.colors, turn), alpha, fine.mode)
    found = replace(loaded.metadata, orientation=turn if turn != 1 else loaded.metadata.orientation)
    return replace(loaded, fine=fine, metadata=found)


def _turned(values: Samples, turn: int) -> Samples:
    """(h, w, …) as EXIF's orientation has it shown."""
    for step in _TURNS[turn].split():
        match step:
            case "t":
                values = values.swapaxes(0, 1)
            case "fliplr":
                values = values[:, ::-1]
            case "flipud":
                values = values[::-1]
            case "rot2":
                values = values[::-1, ::-1]
    return np.ascontiguousarray(values)


def _to_eight_bit(image: Image.Image, stored: str) -> tuple[Image.Image, Image.Image | None, Fine | None]:
    """Grey of more than 8 bits → (mode L, transparency if it has a colour key, the same in 16); others as they are."""
    if image.mode[0] not in "IF":
        if stored == "RGB;16B" and "transparency" in image.info:  # a colour key: cut to 8 bits as the pixels are
            image.info["transparency"] = tuple(level >> 8 for level in image.info["transparency"])
        return image, None, None
    values = np.asarray(image)  # (h, w)
    top = 1 if image.mode == "F" else 4095 if stored == "I;12" else LEVELS
    levels = np.nan_to_num(values.astype(np.float64)).clip(0, top) * (LEVELS / top)
    colors = levels.round().astype(np.uint16)[..., None]
    key = image.info.get("transparency")
    clear = None if key is None else np.where(values == key, 0, LEVELS).astype(np.uint16)
    fine = Fine(colors, clear, "L")
    gray, alpha = _rounded(fine)
    gray.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return gray, alpha, fine


def _eight(values: Samples) -> npt.NDArray[np.uint8]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _rounded(fine: Fine) -> tuple[Image.Image, Image.Image | None]:
    colors = _eight(fine.colors)
    alpha = None if fine.alpha is None else Image.fromarray(_eight(fine.alpha))
    return Image.fromarray(colors[..., 0] if colors.shape[2] == 1 else colors), alpha


def _colors_of_fine(fine: Fine, profile: bytes | None, notes: list[str]) -> tuple[Fine, bytes | None, bool]:
    """CMYK and L*a*b* of 16 bits brought to sRGB, as they are of 8; others as they are."""
    if fine.mode == "sRGB":
        notes.append("LAB was converted to sRGB")
        return replace(fine, mode="RGB"), None, True
    if fine.mode != "CMYK":
        return fine, profile, False
    notes.append("CMYK was converted to sRGB")
    try:
        if profile and profile_mode(profile) == "CMYK":
            return Fine(convert(fine.colors, profile, None), fine.alpha, "RGB"), None, True
    except Exception:  # Little CMS's binding has no error of its own to name
        notes.append("its colour profile cannot be used, and was ignored")
    left = (LEVELS - fine.colors.astype(np.uint32)) / LEVELS
    colors = (left[..., :3] * left[..., 3:] * LEVELS).round().astype(np.uint16)
    return Fine(colors, fine.alpha, "RGB"), None, True


def _by_transfer(
    own: Image.Image, fine: Fine | None, found: hdr.Transfer, gray: bool, notes: list[str]
) -> tuple[Image.Image, Fine | None, bool, bool]:
    """The picture in sRGB where the file says what its levels mean: (8 bits, 16 bits, grey, whether it was changed)."""
    if not found.supported:
        notes.append(f"its colours ({found.name}) are not known and were taken for sRGB: convert it to sRGB first")
        return own, fine, gray, False
    if fine:
        colors = np.repeat(fine.colors, 3, axis=2) if fine.colors.shape[2] == 1 else fine.colors
    else:
        colors = np.asarray(own.convert("RGB")).astype(np.uint16) * 257
    converted = hdr.to_srgb(colors, found)
    gray = gray and found.primaries not in (9, 12)
    if found.hdr:
        notes.append(f"an HDR picture ({found.name}): tone mapped to sRGB by ITU-R BT.2390, so the result is not HDR")
    else:
        notes.append(f"its colours ({found.name}) were converted to sRGB")
    image = Image.fromarray(_eight(converted))
    image.info = own.info
    made = Fine(converted, fine.alpha if fine else None, "RGB") if fine else None
    if gray:
        image = image.convert("L")
        made = replace(made, colors=made.colors[..., :1], mode="L") if made else None
    return image, made, gray, True


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
        rgb = convert_to_srgb(own, profile) if profile or own.mode == "LAB" else own
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


def _sixteen(
    fine: Fine, rgb: Image.Image, profile: bytes | None, kept: bytes | None, alpha: Image.Image | None
) -> Sixteen | None:
    """The pixels in 16 bits; None where their profile does not work in 16."""
    try:
        if profile and not kept and rgb.mode == "RGB" and profile_mode(profile) in ("RGB", "L"):
            picture, beyond = Picture16(convert(fine.colors, profile, None)), None  # one way only
        else:
            picture, beyond = to_srgb(fine.colors, kept)
    except Exception:  # Little CMS's binding has no error of its own to name
        return None
    if alpha is not None:
        hidden = np.asarray(alpha) == 0
        values = picture.values.copy()
        values[hidden] = np.asarray(rgb)[hidden].astype(np.uint16) * 257
        picture = Picture16(values)
    return Sixteen(picture, fine.alpha, beyond)


# -------------------------------------------------------------------------------------------------------- finishing


def finish_photo(
    result: Image.Image, photo: Photo, enlarge: Callable[[Image.Image], Picture] | None = None
) -> Image.Image:
    """Make the restored picture what the photo was: its colour profile, grey, transparency and metadata.

    Args:
        result: RGB in sRGB, at output size. enlarge: for the transparency, see `seesr.photos.alpha.restore_alpha`.

    Returns:
        RGB, RGBA, L or LA; its `info` has what `write_photo` puts into the file (`Photo.info_for`).
    """
    if photo.icc_profile and (photo.gray or not is_srgb(photo.icc_profile)):
        image = from_srgb(result, photo.icc_profile)
    else:
        image = result.convert("L") if photo.gray else result.copy()
    if photo.beyond_srgb is not None:
        image = add_beyond(image, photo.beyond_srgb)
    if photo.alpha is not None:
        image.putalpha(restore_alpha(photo.alpha, result.size, enlarge))
    image.info = photo.info_for(result.size)
    return image
