"""Picture files from disk: pixels and metadata, whatever the format, and one line for what cannot be read.

The content of a file decides how it is read. What the pixels mean is the affair of `seesr.photos.photo`.
"""

import mmap
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from seesr.errors import SeesrError
from seesr.photos.exif import IMAGE, DamagedBlock, Data, numbers, read_block
from seesr.photos.hdr import Transfer, transfer_of
from seesr.photos.kinds import RAW_SUFFIXES, is_jxl, kind_of, odd_jpeg
from seesr.photos.limits import check_photo_fits
from seesr.photos.metadata import Metadata, read_metadata
from seesr.photos.tiff import NotSupported, Samples, TiffFacts, read_fine_tiff, tiff_facts

MAX_PIXELS = 178_956_970
"""Pixels a file may unpack to unless told otherwise: twice Pillow's warning limit, where Pillow itself refuses."""

_READERS = (
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "HEIF",
    "JPEG",
    "JPEG2000",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # others run programs
_PICTURES_BESIDE = ("MPO", "HEIF")  # depth and gain maps, not frames
_EXTRA = "pip install imagecodecs tifffile"

_pillow = threading.RLock()  # Pillow's pixel limit and Python's warning filters are global


@dataclass(frozen=True)
class Fine:
    """Pixels of 16 bits. colors: (h, w, 1, 3 or 4); alpha: (h, w) or None; mode: "L", "RGB", "CMYK" or "sRGB"."""

    colors: Samples
    alpha: Samples | None
    mode: str


@dataclass(frozen=True)
class Loaded:
    """A file as read, not yet turned upright.

    image: of Pillow, None where only `fine` was read. stored: how the file stores a pixel, in Pillow's words
        ("RGB;16B"; "" if the format has one way only). info: as Pillow's: "icc_profile", "transparency".
    format: in Pillow's words, or JXL or RAW. frames: or pages.
    transfer: what the levels mean, if that is neither sRGB nor told by an ICC profile.
    """

    image: Image.Image | None
    stored: str
    frames: int
    format: str
    info: dict[Any, Any]
    metadata: Metadata
    fine: Fine | None = None
    transfer: Transfer | None = None
    notes: list[str] = field(default_factory=list)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings (damaged metadata, large sizes) from the terminal; one thread at a time."""
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def has_sixteen_bits() -> bool:
    """Whether the libraries for 16 bits a channel are installed."""
    return find_spec("imagecodecs") is not None and find_spec("tifffile") is not None


def holds_sixteen_bits(path: Path) -> bool:
    """Whether a file seems to have more than 8 bits a channel, told quickly by its header; False where unsure."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tells_sixteen_bits(data, path.suffix)
    except (OSError, ValueError):
        return False


def tells_sixteen_bits(data: Data, suffix: str) -> bool:
    """Whether a file of that content and suffix seems to have more than 8 bits a channel; few of its bytes are read.

    Raises:
        ValueError: it is damaged.
    """
    head, raw = data[0:32], suffix.lower() in RAW_SUFFIXES
    if head.startswith(b"\x89PNG"):
        return head[24:25] == b"\x10"
    return raw or (head[:2] in (b"II", b"MM") and tiff_facts(data).fine)


def load_photo(path: Path, max_pixels: int = MAX_PIXELS) -> Loaded:
    """Read the first frame of an image file whole.

    Raises:
        SeesrError: no such file, not a picture, of a kind that is not read, cut short or damaged, or more than
            `max_pixels`.
    """
    with quiet_pillow():
        _enable_heic()
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels  # Pillow refuses at twice that only
        try:
            if not stat.S_ISREG(os.stat(path).st_mode) and not path.is_dir():  # reading a pipe might never end
                raise SeesrError(f"{path}: is not a file but a device or a pipe; name a file")
            with path.open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    raise UnidentifiedImageError
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return _load(path, data, max_pixels)
        except SeesrError:
            raise
        except Exception as error:  # readers raise nearly anything on damaged data
            raise SeesrError(f"{path}: {_why_unreadable(path, error, max_pixels)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _load(path: Path, data: Data, max_pixels: int) -> Loaded:
    head = data[0:64]
    if path.suffix.lower() in RAW_SUFFIXES or "RAW" in (kind_of(head) or ""):
        if head.startswith((b"\xff\xd8", b"\x89PNG")):  # a developed picture under a RAW's name
            return _load_by_pillow(path, data, max_pixels)
        return _load_raw(path, data, max_pixels)
    if is_jxl(head):
        return _load_jxl(path, data, max_pixels)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        if 50706 in read_block(data)[1][IMAGE]:  # DNGVersion
            return _load_raw(path, data, max_pixels)
        facts = tiff_facts(data)
        if facts.fine and has_sixteen_bits():
            return _load_fine_tiff(path, data, facts, max_pixels)
        if facts.fine and (facts.bits != 16 or facts.sample_format != 1 or facts.planar or facts.photometric > 2):
            kind = "floating-point" if facts.sample_format == 3 else "planar" if facts.planar else "such"
            raise SeesrError(f"{path}: a TIFF with {facts.bits}-bit {kind} samples; to read these: {_EXTRA}")
        loaded = _load_by_pillow(path, data, max_pixels)
        if facts.fine and facts.photometric == 0 and loaded.image is not None:
            flipped = Image.fromarray(65535 - np.asarray(loaded.image).astype(np.uint16))
            flipped.info = loaded.info
            return Loaded(flipped, *list(vars(loaded).values())[1:])
        return loaded
    return _load_by_pillow(path, data, max_pixels)


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    if min(size) < 1:
        raise ValueError("it has no pixels")
    if size[0] * size[1] > max_pixels:
        raise Image.DecompressionBombError(f"{size[0]} x {size[1]} pixels")
    check_photo_fits(path, size)


def _load_by_pillow(path: Path, data: Data, max_pixels: int) -> Loaded:
    readers = [*_READERS, "TGA"] if path.suffix.lower() == ".tga" else _READERS  # a TGA file has no mark of its own
    with Image.open(path, formats=[name for name in readers if name in Image.OPEN]) as image:
        _check_size(path, image.size, max_pixels)
        stored, name = _sample_format(image), image.format or ""
        frames = 1 if name in _PICTURES_BESIDE else getattr(image, "n_frames", 1)
        fine, notes = None, list[str]()
        transfer = transfer_of(data, name, image.info)
        if name == "PNG" and data[24:25] == b"\x10" and has_sixteen_bits():
            fine = _decode_png(data)
            if fine.colors.shape[:2] != (image.height, image.width):
                raise ValueError("size and pixels contradict each other")
            info = dict(image.info)
            return Loaded(None, stored, frames, name, info, read_metadata(data, name, info), fine, transfer, notes)
        image.load()
        if image.mode == "P" and image.palette is None:
            raise ValueError("it has no palette")
        found = read_metadata(data, name, image.info)
        if name in ("JPEG", "MPO") and (b"hdrgm:" in found.xmp or b"HDRGainMap" in found.xmp):
            notes.append("its HDR gain map is not kept: the result has the base picture's range")
        return Loaded(image, stored, frames, name, image.info, found, None, transfer, notes)


def _decode_png(data: Data) -> Fine:
    import imagecodecs

    values = np.asarray(imagecodecs.png_decode(data[0 : len(data)]))
    if values.dtype != np.uint16:
        raise ValueError("not 16 bits")
    return _split(values)


def _split(values: Samples) -> Fine:
    values = values.reshape(*values.shape[:2], -1)
    count = values.shape[2]
    colors = np.ascontiguousarray(values[..., : count - 1] if count in (2, 4) else values)
    return Fine(colors, values[..., -1] if count in (2, 4) else None, "L" if count < 3 else "RGB")


def _load_fine_tiff(path: Path, data: Data, facts: TiffFacts, max_pixels: int) -> Loaded:
    _check_size(path, (facts.width, facts.height), max_pixels)
    fine = Fine(*read_fine_tiff(path, facts))
    layout, parts = read_block(data)
    tags = parts[IMAGE]
    info: dict[Any, Any] = {}
    if 34675 in tags:
        info["icc_profile"] = tags[34675].data
    if 282 in tags and 283 in tags:
        unit = numbers(tags[296], layout)[0] if 296 in tags else 2
        if unit in (2, 3):
            info["dpi"] = tuple(numbers(tags[tag], layout)[0] * (2.54 if unit == 3 else 1) for tag in (282, 283))
    notes = ["floating-point samples were taken as 0 to 1"] if facts.sample_format == 3 else []
    frames = 1
    if layout.big is False:
        start = int.from_bytes(data[4:8], "little" if layout.order == "<" else "big")
        count = int.from_bytes(data[start : start + 2], "little" if layout.order == "<" else "big")
        frames = 2 if any(data[start + 2 + 12 * count : start + 6 + 12 * count]) else 1
    return Loaded(None, ";16", frames, "TIFF", info, read_metadata(data, "TIFF", info), fine, None, notes)


def _load_jxl(path: Path, data: Data, max_pixels: int) -> Loaded:
    from seesr.photos.jxl import read_jxl

    if find_spec("imagecodecs") is None:
        raise SeesrError(f"{path}: a JPEG XL picture; to read these: pip install imagecodecs")
    values, profile, transfer, notes = read_jxl(data, lambda size: _check_size(path, size, max_pixels))
    info: dict[Any, Any] = {"icc_profile": profile} if profile else {}
    found = read_metadata(data, "JXL", info)
    if values.dtype == np.uint16:
        return Loaded(None, ";16", 1, "JXL", info, found, _split(values), transfer, notes)
    image = Image.fromarray(values.squeeze(-1) if values.ndim == 3 and values.shape[2] == 1 else values)
    image.info = info
    return Loaded(image, "", 1, "JXL", info, found, None, transfer, notes)


def _load_raw(path: Path, data: Data, max_pixels: int) -> Loaded:
    try:
        import rawpy
    except ImportError:
        raise SeesrError(f"{path}: a camera RAW file; to read these: pip install rawpy") from None
    with rawpy.imread(str(path)) as raw:
        _check_size(path, (raw.sizes.width, raw.sizes.height), max_pixels)
        values = raw.postprocess(  # neutral: the camera's white balance, no brightening, sRGB
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=16,
            gamma=(2.4, 12.92),
            output_color=rawpy.ColorSpace.sRGB,
        )
    info: dict[Any, Any] = {}
    found = read_metadata(data, "RAW", info)
    notes = ["a camera RAW, developed neutrally: the camera's white balance, no brightening or sharpening"]
    if not found.exif:
        notes.append("its EXIF data cannot be read and are not kept")
    upright = Metadata(**{**vars(found), "orientation": 1})  # LibRaw turns the picture
    return Loaded(None, ";16", 1, "RAW", info, upright, _split(values.astype(np.uint16)), None, notes)


@cache
def _enable_heic() -> None:
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _sample_format(image: Image.Image) -> str:
    tiles: Any = getattr(image, "tile", None)  # [(codec, box, offset, "RGB;16B" or ("RGB;16B", ...))], not everywhere
    if not tiles:
        return ""
    arguments = tiles[0][3]
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    if tiles[0][0] == "ppm" and isinstance(arguments, tuple):
        return f"{raw_mode};16" if arguments[1] > 255 else str(raw_mode)  # (raw mode, largest value)
    return raw_mode if isinstance(raw_mode, str) else ""


def _why_unreadable(path: Path, error: Exception, max_pixels: int) -> str:
    match error:
        case FileNotFoundError():
            return "no such file"
        case IsADirectoryError():
            return "is a folder, not a picture"
        case PermissionError():
            return "may not be read; change its permissions"
        case Image.DecompressionBombError():
            size = str(error).partition(" exceeds")[0]
            return f"{size}, over the limit of {max_pixels}; raise `max_pixels` if you trust the file"
        case MemoryError():
            return "there is not enough memory to unpack it"
        case NotSupported():
            return f"a sound file, but {error} are not read; convert it to a TIFF or PNG of 8 or 16 bits"
        case UnidentifiedImageError() | DamagedBlock():
            return _why_unknown(path)
    if odd := _odd(path):
        return f"{odd}, which is not read; convert it to PNG"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"the picture is damaged or cut short ({reason}); get the file afresh"


def _odd(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(1 << 20)
    odd = odd_jpeg(head) if head.startswith(b"\xff\xd8") else None
    return f"a {odd} JPEG" if odd else None


def _why_unknown(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return "the file is empty; get it afresh"
    if odd := _odd(path):
        return f"{odd}, which is not read; convert it to PNG"
    kind = kind_of(head)
    if kind == "HEIC photo" and "HEIF" not in Image.OPEN:
        return "a HEIC photo; to read these: pip install pillow-heif"
    if kind == "AVIF picture" and "AVIF" not in Image.OPEN:
        return "an AVIF picture, which this build of Pillow does not read; pip install --upgrade pillow"
    if kind in ("HEIC photo", "AVIF picture"):
        return f"the {kind} is damaged or cut short; get the file afresh"
    if kind:
        article = (
            "an" if kind[0] in "AEIOMS" and kind.split()[0] in ("OpenEXR", "MNG", "SVG", "SGI", "Olympus") else "a"
        )
        return f"{article} {kind}, which is not read; convert it to PNG"
    return "not a picture, damaged at its start, or of an unknown kind; get it afresh or convert it to PNG"
