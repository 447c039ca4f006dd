"""Picture files from disk and onto it: what is wrong with a bad one in one line, and no half-written ones.

The content of a file decides how it is read, its suffix how it is written. What the pixels mean is images.py's affair.
"""

import os
import stat
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.ImageCms import PyCMSError
from PIL.PngImagePlugin import PngInfo

from seesr.atomic import write_whole
from seesr.errors import SeesrError
from seesr.photos.icc import to_srgb
from seesr.photos.limits import check_photo_fits
from seesr.photos.pictures import flatten

_FORMATS = {
    ".avif": "AVIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
Image.init()
WRITABLE = frozenset(suffix for suffix, name in _FORMATS.items() if name in Image.SAVE)
"""Suffixes of files that can be written; .avif only where Pillow was built with it."""

READABLE = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_READERS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # no others: some run other programs
_NAMES = {**_FORMATS, ".bmp": "BMP", ".gif": "GIF", ".heic": "HEIF", ".heif": "HEIF", ".pgm": "PPM", ".ppm": "PPM"}
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")

MAX_PIXELS = 178_956_970
"""Pixels a file may unpack to unless told otherwise: twice Pillow's warning limit, where Pillow itself refuses."""

_LONGEST = {"JPEG": 65500, "WEBP": 16383, "AVIF": 32768}  # pixels a side that encoders or, for AVIF, decoders allow
_LONGEST_NAME = 255  # bytes, on nearly every file system
_JPEG_SEGMENT = 65_000  # bytes of EXIF or XMP; a JPEG segment ends at 65 535 with its header
_TIFF_XMP = 700
_BIG_TIFF = 2**32 - 2**20  # bytes; larger pictures need 64-bit offsets

_pillow = threading.RLock()  # Pillow's pixel limit and Python's warning filters are global


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings (damaged metadata, large sizes) from the terminal; one thread at a time."""
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_image(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, str, int]:
    """Read the first frame of an image file whole.

    Returns:
        The picture; how the file stores a pixel, in Pillow's words ("RGB;16B"; "" if the format has one way only); and
        the number of frames or pages.

    Raises:
        SeesrError: no such file, not a picture, cut short or damaged, or more than `max_pixels`.
    """
    with quiet_pillow():
        _enable_heic()
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels  # Pillow refuses at twice that only
        try:
            if not stat.S_ISREG(os.stat(path).st_mode) and not path.is_dir():  # reading a pipe might never end
                raise SeesrError(f"{path}: is not a file but a device or a pipe; name a file")
            with Image.open(path, formats=[name for name in _READERS if name in Image.OPEN]) as image:
                if image.width * image.height > max_pixels:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
                check_photo_fits(path, image.size)
                stored = _sample_format(image)
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: JPEG with a depth map
                image.load()
                if image.mode == "P" and image.palette is None:
                    raise ValueError("it has no palette")
                return image, stored, frames
        except SeesrError:
            raise
        except Exception as error:  # Pillow's readers raise nearly anything on damaged data
            raise SeesrError(f"{path}: {_why_unreadable(path, error, max_pixels)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


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
        case UnidentifiedImageError():
            return _why_unknown(path)
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"the picture is damaged or cut short ({reason}); get the file afresh"


def _why_unknown(path: Path) -> str:
    with open(path, "rb") as file:
        head = file.read(12)
    if not head:
        return "the file is empty; get it afresh"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return "a HEIC photo; to read these: pip install pillow-heif"
    return "not a picture, damaged at its start, or of an unknown kind; get it afresh or convert it to PNG"


def write_photo(image: Image.Image, path: Path, quality: int = 95) -> None:
    """Write `image` to `path`, whole or not at all; folders are made, an older file is replaced, the suffix decides.

    Args:
        image: RGB, RGBA, L or LA. Of its `info`, "icc_profile", "exif", "xmp" (bytes) and "dpi" go into the file where
            the format has room. JPEG has no transparency: such a picture is laid on white.
        quality: 1 to 100, of JPEG, WebP and AVIF. Chroma is kept at full resolution from 90 on where the format can
            (JPEG, AVIF); WebP at 100 is lossless.

    Raises:
        SeesrError: `check_writable`'s reasons, a quality out of range, or a write that fails (no space left).
    """
    if not 1 <= quality <= 100:
        raise SeesrError(f"`quality` cannot be {quality}; it must be from 1 to 100")
    check_writable(path, image.size)
    format_name = _FORMATS[path.suffix.lower()]
    image = _fit_format(image, format_name)
    options = _options(image, format_name, quality)
    write_whole(path, lambda file: image.save(file, format_name, **options))


def check_writable(path: Path, size: tuple[int, int] | None = None) -> None:
    """Find out before any work whether a picture of `size` (width, height; None: unknown) can be written to `path`.

    Raises:
        SeesrError: a suffix no writer takes, a format with a smaller limit, or a place that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        named = f"{path.suffix} files" if suffix else "a file without suffix"
        raise SeesrError(f"{path}: cannot write {named}; use {', '.join(sorted(WRITABLE))}")
    longest = _LONGEST.get(_FORMATS[suffix])
    if size and longest and max(size) > longest:
        raise SeesrError(
            f"{path}: {size[0]} x {size[1]} pixels are more than {_FORMATS[suffix]} can hold "
            f"({longest} a side); use `ext` png or tiff"
        )
    if len(os.fsencode(path.name)) > _LONGEST_NAME or "\0" in str(path):
        raise SeesrError(f"{path}: the file's name is too long, or no name; choose another, or a shorter `suffix`")
    if path.is_dir():
        raise SeesrError(f"{path}: is a folder; name a file")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise SeesrError(f"{path}: {folder} is not a folder; choose another output")
    try:
        with tempfile.TemporaryFile(dir=folder):  # permissions alone do not tell of a read-only disk
            pass
    except OSError as error:
        raise SeesrError(f"{path}: {folder} cannot be written ({error.strerror}); choose another output") from error


def output_name(path: Path, suffix: str = "", ext: str | None = None) -> str:
    """File name of the result for the photo `path`: its stem, then `suffix`, then `ext` (with or without dot).

    Without `ext` the photo's own is kept if it can be written, else .png is taken.

    Raises:
        SeesrError: `ext` cannot be written, or `suffix` would lead into another folder.
    """
    if any(character in suffix for character in ("/", os.sep, "\0")):
        raise SeesrError(f"`suffix` cannot be {suffix!r}; it is put into the file's name, so use no slash")
    if ext is None:
        ext = path.suffix if path.suffix.lower() in WRITABLE else ".png"
    elif "." + ext.lower().lstrip(".") not in WRITABLE:
        raise SeesrError(f"`ext` cannot be {ext!r}; use {', '.join(sorted(WRITABLE))}")
    return f"{path.stem}{suffix}.{ext.lstrip('.')}"


def name_note(image: Image.Image, path: Path) -> str | None:
    """What the user should know of a file whose content is not what its name says."""
    content = "JPEG" if image.format == "MPO" else image.format
    named = _NAMES.get(path.suffix.lower())
    return f"a {content} file, whatever its name says" if named not in (None, content) else None


def format_notes(image: Image.Image, path: Path) -> list[str]:
    """What the user should know that `path`'s format cannot keep of a finished picture; often []."""
    notes = []
    transparent = image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema() != (255, 255)
    if transparent and _FORMATS.get(path.suffix.lower()) == "JPEG":
        notes.append("JPEG has no transparency: the picture was laid on white; `ext` png keeps it")
    return notes


def longest_side(path: Path) -> int | None:
    """Pixels a side that the format of `path` can hold; None where files of any size it can be asked for are fine."""
    return _LONGEST.get(_FORMATS[path.suffix.lower()])


def _fit_format(image: Image.Image, format_name: str) -> Image.Image:
    if format_name == "JPEG":
        return flatten(image)
    profile = image.info.get("icc_profile")
    if format_name in ("WEBP", "AVIF") and image.mode in ("L", "LA") and profile:  # these hold a grey picture as colour
        try:
            colour = to_srgb(image.convert("L"), profile)
        except PyCMSError:
            colour = image.convert("RGB")
        if image.mode == "LA":
            colour.putalpha(image.getchannel("A"))
        colour.info = {key: value for key, value in image.info.items() if key != "icc_profile"}
        return colour
    return image


def _options(image: Image.Image, format_name: str, quality: int) -> dict[str, Any]:
    """What to hand to Pillow's writer of a format."""
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
    if image.info.get("dpi"):
        options["dpi"] = image.info["dpi"]
    if format_name in ("JPEG", "AVIF"):
        options["quality"] = quality
        if quality >= 90 and image.mode not in ("L", "LA"):
            options["subsampling"] = "4:4:4"
    if format_name == "JPEG":
        exif, xmp = (part if part and len(part) <= _JPEG_SEGMENT else None for part in (exif, xmp))
    if format_name == "WEBP":
        options |= {"quality": quality, "lossless": quality == 100}
    if format_name == "TIFF":
        options["big_tiff"] = image.width * image.height * len(image.getbands()) > _BIG_TIFF
        tags = Image.Exif()
        tags.load(exif or b"")
        if xmp:
            tags[_TIFF_XMP] = xmp
        options["compression"] = "raw" if tags else "tiff_adobe_deflate"  # libtiff refuses EXIF's subdirectories
        exif, xmp = tags, None
    if format_name == "PNG" and xmp:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        xmp = None
    if exif:
        options["exif"] = exif
    if xmp:
        options["xmp"] = xmp
    return options
