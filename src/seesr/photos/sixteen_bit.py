"""Results of 16 bits a channel: their colours and their files, PNG and TIFF, which Pillow can read but not write.

Colours go from sRGB to the photo's own in floating point, by the matrix and the tone curves of its profile (ICC.1:2010,
annex F); that is how nearly all RGB and grey profiles of cameras, screens and editors are made.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from seesr.atomic import write_whole
from seesr.errors import SeesrError
from seesr.photos.files import check_writable
from seesr.photos.icc import is_srgb
from seesr.photos.photo import Photo, metadata
from seesr.photos.pictures import LEVELS, DeepPicture

DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})

_ROWS = 128  # worked on at once
_SRGB_TO_XYZ = np.array(  # at D50
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_LUMA = np.array([0.299, 0.587, 0.114])  # Pillow's grey
_CURVE = np.linspace(0, 1, 1 << 14)


@dataclass(frozen=True)
class DeepResult:
    """A finished picture. values: (h, w, channels), uint16, channels L, LA, RGB or RGBA. info: as Pillow's."""

    values: np.ndarray
    info: dict[str, Any]

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @property
    def height(self) -> int:
        return int(self.values.shape[0])


# ---------------------------------------------------------------------------------------------------------- colours


@dataclass(frozen=True)
class MatrixProfile:
    """Tone curves, sampled at `_CURVE`, one a channel, and the matrix from linear light to XYZ (None for grey)."""

    curves: list[np.ndarray]
    to_xyz: np.ndarray | None


def read_matrix_profile(profile: bytes) -> MatrixProfile | None:
    """The matrix and curves of an ICC profile of RGB or grey pictures; None if it works by tables or is damaged."""
    try:
        count = struct.unpack_from(">I", profile, 128)[0]
        entries = [struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(min(count, 100))]
        tags = {name: profile[offset : offset + size] for name, offset, size in entries}
        if b"A2B0" in tags or b"B2A0" in tags:
            return None
        if b"kTRC" in tags:
            return MatrixProfile([_curve(tags[b"kTRC"])], None)
        curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
        columns = [np.array(struct.unpack_from(">3i", tags[name], 8)) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        to_xyz = np.stack(columns, 1)
        np.linalg.inv(to_xyz)
        return MatrixProfile(curves, to_xyz)
    except (KeyError, ValueError, struct.error, np.linalg.LinAlgError):
        return None


def _curve(tag: bytes) -> np.ndarray:
    """Linear light of the levels `_CURVE`, by a `curv` or `para` tag (ICC.1:2010, 10.5 and 10.15)."""
    x = _CURVE
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        if count == 0:
            return x
        values = np.array(struct.unpack_from(f">{count}H", tag, 12))
        return x ** (values[0] / 256) if count == 1 else np.interp(x, np.linspace(0, 1, count), values / 65535)
    if tag[:4] != b"para":
        raise ValueError("no tone curve")
    kind = struct.unpack_from(">H", tag, 8)[0]
    number = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}[kind]
    g, *rest = np.array(struct.unpack_from(f">{number}i", tag, 12)) / 65536
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b, offset = rest[0], rest[1], rest[2] if kind == 2 else 0.0
        c, d, e, f = 0.0, -b / a, offset, offset
    elif kind >= 3:
        a, b, c, d = rest[:4]
        e, f = rest[4:] if kind == 4 else (0.0, 0.0)
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f).clip(0, 1)


def _linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _own_colors(srgb: np.ndarray, profile: MatrixProfile) -> np.ndarray:
    """(h, w, 3) in [0, 1], sRGB → (h, w, 3 or 1) in [0, 1] in the colours of `profile`."""
    light = _linear(srgb)
    if profile.to_xyz is None:
        own = light @ _SRGB_TO_XYZ[1][:, None]
    else:
        own = light @ (np.linalg.inv(profile.to_xyz) @ _SRGB_TO_XYZ).T
    own = own.clip(0, 1)
    return np.stack([np.interp(own[..., i], curve, _CURVE) for i, curve in enumerate(profile.curves)], -1)


def finish_deep(result: DeepPicture, photo: Photo) -> tuple[DeepResult, list[str]]:
    """Make a restored picture of 16 bits what the photo was, as `seesr.photos.photo.finish_photo` does for one of 8.

    Args:
        result: in sRGB, at output size.

    Returns:
        The finished picture, and what the user should know.
    """
    info, notes = metadata(photo, result.size), []
    profile = None
    if photo.icc_profile and (photo.gray or not is_srgb(photo.icc_profile)):
        profile = read_matrix_profile(photo.icc_profile)
        if profile is None:
            info.pop("icc_profile")
            notes.append("its colour profile works by tables, which 16 bits cannot go through: the result is in sRGB")
    channels = (1 if photo.gray else 3) + (photo.alpha is not None)
    values = np.empty((result.height, result.width, channels), np.uint16)
    beyond = _planes(photo.beyond_srgb, result.size) if photo.beyond_srgb is not None and profile else []
    alpha = _planes(photo.alpha, result.size) if photo.alpha is not None else []
    for top in range(0, result.height, _ROWS):
        rows = slice(top, top + _ROWS)
        part = result.values[rows] / LEVELS
        if profile:
            part = _own_colors(part, profile)
        elif photo.gray:
            part = (part @ _LUMA)[..., None]
        for channel, plane in enumerate(beyond):
            part[..., channel] += (plane[rows] - 128) / 255
        parts = [part, *(plane[rows, :, None] / 255 for plane in alpha)]
        values[rows] = (np.concatenate(parts, -1).clip(0, 1) * LEVELS).round()
    return DeepResult(values, info), notes


def _planes(picture: Image.Image, size: tuple[int, int]) -> list[np.ndarray]:
    """The channels of an 8-bit picture, resized without rounding."""
    return [np.asarray(band.convert("F").resize(size, Image.Resampling.BICUBIC)) for band in picture.split()]


# ------------------------------------------------------------------------------------------------------------ files


def check_deep(path: Path) -> None:
    """Whether a file of that name can have 16 bits a channel.

    Raises:
        SeesrError: it cannot.
    """
    if path.suffix.lower() not in DEEP_SUFFIXES:
        raise SeesrError(f"{path}: {path.suffix} files have 8 bits a channel; for `bits` 16 use `ext` png or tiff")


def write_deep(result: DeepResult, path: Path) -> None:
    """Write `result` to `path`, PNG or TIFF by its suffix, whole or not at all.

    Raises:
        SeesrError: another suffix, `check_writable`'s reasons, a picture beyond TIFF's 4 GB, or a write that fails.
    """
    check_deep(path)
    check_writable(path, (result.width, result.height))
    write = _write_png if path.suffix.lower() == ".png" else _write_tiff
    write_whole(path, lambda file: write(result, file))


def _write_png(result: DeepResult, file: BinaryIO) -> None:
    """PNG (W3C, third edition) with the Paeth filter."""

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    info, channels = result.info, result.values.shape[2]
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", result.width, result.height, 16, color_type, 0, 0, 0))
    if info.get("icc_profile"):
        chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(info["icc_profile"]))
    if info.get("dpi"):
        chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / 0.0254) for dpi in info["dpi"]), 1))
    if info.get("exif"):
        chunk(b"eXIf", info["exif"].removeprefix(b"Exif\0\0"))
    if info.get("xmp"):
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + info["xmp"])
    packer = zlib.compressobj(6)
    for rows in _paeth(result.values):
        if packed := packer.compress(rows):
            chunk(b"IDAT", packed)
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _paeth(values: np.ndarray) -> Iterator[bytes]:
    """The filtered rows of a PNG, each after its filter's number, 4 (Paeth), some at a time."""
    height, width, channels = values.shape
    step = 2 * channels  # bytes of a pixel
    above = np.zeros((1, step + width * step), np.uint8)
    for top in range(0, height, _ROWS):
        part = values[top : top + _ROWS]
        raw = part.astype(">u2").view(np.uint8).reshape(len(part), -1)
        padded = np.concatenate([above, np.pad(raw, ((0, 0), (step, 0)))])  # zeros before the first pixels
        a, b, c = (x.astype(np.int16) for x in (padded[1:, :-step], padded[:-1, step:], padded[:-1, :-step]))
        p, q, r = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)  # of the estimate a + b - c from a, b and c
        predicted = np.where((p <= q) & (p <= r), a, np.where(q <= r, b, c)).astype(np.uint8)
        yield np.pad(raw - predicted, ((0, 0), (1, 0)), constant_values=4).tobytes()
        above = padded[-1:]


def _write_tiff(result: DeepResult, file: BinaryIO) -> None:
    """TIFF 6.0: one strip, deflate with horizontal differences; the directory is Pillow's work."""
    info, values = result.info, result.values
    packer = zlib.compressobj(6)
    packed = [packer.compress(_differences(values[top : top + _ROWS])) for top in range(0, result.height, _ROWS)]
    packed.append(packer.flush())
    size = sum(map(len, packed))
    if size > 2**32 - 2**20:
        raise ValueError("more than the 4 GB of a TIFF; use PNG")
    channels = values.shape[2]
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    exif = Image.Exif()
    exif.load(info.get("exif") or b"")
    for tag in exif:
        inner = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        directory[tag] = dict(exif.get_ifd(tag)) if inner else exif[tag]
    directory[TiffImagePlugin.IMAGEWIDTH], directory[TiffImagePlugin.IMAGELENGTH] = result.width, result.height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (16,) * channels
    directory[TiffImagePlugin.COMPRESSION], directory[TiffImagePlugin.PREDICTOR] = 8, 2
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 2 if channels > 2 else 1
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    if channels in (2, 4):
        directory[TiffImagePlugin.EXTRASAMPLES] = (2,)  # transparency that is not multiplied into the colours
    directory[TiffImagePlugin.ROWSPERSTRIP] = result.height
    directory[TiffImagePlugin.STRIPOFFSETS], directory[TiffImagePlugin.STRIPBYTECOUNTS] = 0, size  # 0: right behind
    if info.get("icc_profile"):
        directory[TiffImagePlugin.ICCPROFILE] = info["icc_profile"]
    if info.get("xmp"):
        directory[700] = info["xmp"]
    if info.get("dpi"):
        directory[TiffImagePlugin.RESOLUTION_UNIT] = 2
        directory[TiffImagePlugin.X_RESOLUTION], directory[TiffImagePlugin.Y_RESOLUTION] = info["dpi"]
    directory.save(file)
    for part in packed:
        file.write(part)


def _differences(rows: np.ndarray) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return differences.astype("<u2").tobytes()
