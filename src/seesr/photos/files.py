"""Picture files onto disk: what each format can hold, and no half-written files. The suffix decides the format."""

import os
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.ImageCms import PyCMSError

from seesr.errors import SeesrError
from seesr.photos import embed
from seesr.photos.decode import MAX_PIXELS as MAX_PIXELS
from seesr.photos.decode import quiet_pillow as quiet_pillow
from seesr.photos.icc import is_srgb, to_srgb
from seesr.photos.kinds import FORMAT_OF
from seesr.photos.kinds import READABLE as READABLE
from seesr.photos.kinds import WRITABLE as WRITABLE
from seesr.photos.metadata import Metadata
from seesr.photos.pictures import flatten
from seesr.photos.sixteen_bit import Result16, check_sixteen
from seesr.system.atomic import write_whole

_LONGEST = {"JPEG": 65500, "WEBP": 16383, "AVIF": 32768}  # pixels a side that encoders or, for AVIF, decoders allow
_LONGEST_NAME = 255  # bytes, on nearly every file system
_BIG_TIFF = 2**32 - 2**26  # bytes; larger pictures need 64-bit offsets


def write_photo(image: Image.Image, path: Path, quality: int = 95) -> None:
    """Write `image` to `path`, whole or not at all; folders are made, an older file is replaced, the suffix decides.

    Args:
        image: RGB, RGBA, L or LA. Its `info` may have "icc_profile" (bytes) and "metadata" (`Metadata`), which go into
            the file where the format has room. JPEG has no transparency: such a picture is laid on white.
        quality: 1 to 100, of JPEG, WebP, AVIF and JPEG XL. From 90 on chroma keeps its full
            resolution (JPEG, AVIF); WebP and JPEG XL at 100 are lossless.

    Raises:
        SeesrError: `check_writable`'s reasons, a quality out of range, or a write that fails (no space left).
    """
    _check_quality(quality)
    check_writable(path, image.size)
    format_name = FORMAT_OF[path.suffix.lower()]
    found, _ = embed.fit(_metadata(image.info), format_name)
    image = _fit_format(image, format_name)
    if format_name == "JXL":
        _write_jxl(np.asarray(image), found, path, quality)
        return
    options = _options(image, format_name, quality) | embed.pillow_options(found, format_name)
    image.info = {}  # Pillow's writers take what they find there

    def save(file: BinaryIO) -> None:
        image.save(file, format_name, **options)
        if format_name == "TIFF":
            embed.into_tiff(file, found)

    write_whole(path, save)


def write_sixteen(result: Result16, path: Path) -> None:
    """Write a result of 16 bits to `path`, PNG or TIFF by its suffix, whole or not at all.

    Raises:
        SeesrError: another suffix, a library that is missing, `check_writable`'s reasons, or a write that fails.
    """
    check_sixteen(path)
    check_writable(path, (result.width, result.height))
    format_name = FORMAT_OF[path.suffix.lower()]
    found, _ = embed.fit(_metadata(result.info), format_name)
    profile, values = result.info.get("icc_profile"), result.values
    if format_name == "TIFF":
        write_whole(path, lambda file: _write_tiff16(result, found, file))
        return
    import imagecodecs

    packed = bytes(imagecodecs.png_encode(values.squeeze(-1) if values.shape[2] == 1 else values, level=6))
    write_whole(path, lambda file: file.write(embed.into_png(packed, found, profile)))


def _write_tiff16(result: Result16, found: Metadata, file: BinaryIO) -> None:
    import tifffile

    channels, packed = result.values.shape[2], BytesIO()
    tifffile.imwrite(
        packed,
        result.values.squeeze(-1) if channels == 1 else result.values,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="adobe_deflate",
        predictor=True,
        metadata=None,
        software=False,
        iccprofile=result.info.get("icc_profile"),
        resolution=found.dpi,
        resolutionunit="inch" if found.dpi else None,
        bigtiff=result.values.nbytes > _BIG_TIFF,
    )
    file.write(packed.getbuffer())
    embed.into_tiff(file, found)


def _write_jxl(values: Any, found: Metadata, path: Path, quality: int) -> None:
    from seesr.photos.jxl import write_jxl

    packed = write_jxl(values.squeeze(-1) if values.shape[-1] == 1 else values, quality, found.exif, found.xmp)
    write_whole(path, lambda file: file.write(packed))


def _metadata(info: dict[Any, Any]) -> Metadata:
    found = info.get("metadata")
    return found if isinstance(found, Metadata) else Metadata()


def _check_quality(quality: int) -> None:
    if not 1 <= quality <= 100:
        raise SeesrError(f"`quality` cannot be {quality}; it must be from 1 to 100")


def check_writable(path: Path, size: tuple[int, int] | None = None) -> None:
    """Find out before any work whether a picture of `size` (width, height; None: unknown) can be written to `path`.

    Raises:
        SeesrError: a suffix no writer takes, a format with a smaller limit, or a place that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        if suffix == ".jxl":
            raise SeesrError(f"{path}: to write JPEG XL files: pip install imagecodecs")
        named = f"{path.suffix} files" if suffix else "a file without suffix"
        raise SeesrError(f"{path}: cannot write {named}; use {', '.join(sorted(WRITABLE))}")
    longest = _LONGEST.get(FORMAT_OF[suffix])
    if size and longest and max(size) > longest:
        raise SeesrError(
            f"{path}: {size[0]} x {size[1]} pixels are more than {FORMAT_OF[suffix]} can hold "
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


def format_notes(image: Image.Image | Result16, path: Path) -> list[str]:
    """What the user should know that `path`'s format cannot keep of a finished picture; often []."""
    format_name = FORMAT_OF.get(path.suffix.lower(), "")
    _, notes = embed.fit(_metadata(image.info), format_name)
    if format_name == "JPEG" and isinstance(image, Image.Image) and _transparent(image):
        notes.append("JPEG has no transparency: the picture was laid on white; `ext` png keeps it")
    profile = image.info.get("icc_profile")
    if format_name == "JXL" and profile and not _says_srgb(profile):
        notes.append("JPEG XL is written in sRGB, without the photo's own colour profile; `ext` png keeps it")
    return notes


def _transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema() != (255, 255)


def _says_srgb(profile: bytes) -> bool:
    return profile[16:20] == b"RGB " and is_srgb(profile)


def longest_side(path: Path) -> int | None:
    """Pixels a side that the format of `path` can hold; None where files of any size it can be asked for are fine."""
    return _LONGEST.get(FORMAT_OF[path.suffix.lower()])


def _fit_format(image: Image.Image, format_name: str) -> Image.Image:
    if format_name == "JPEG":
        return flatten(image)
    profile = image.info.get("icc_profile")
    gray = image.mode in ("L", "LA")
    if profile and ((format_name in ("WEBP", "AVIF") and gray) or (format_name == "JXL" and not _says_srgb(profile))):
        try:  # WebP and AVIF hold a grey picture as colour; JPEG XL is written without a profile
            colour = to_srgb(image.convert("L" if gray else "RGB"), profile)
        except PyCMSError:
            colour = image.convert("RGB")
        if image.mode in ("LA", "RGBA"):
            colour.putalpha(image.getchannel("A"))
        colour.info = {key: value for key, value in image.info.items() if key != "icc_profile"}
        return colour
    return image.copy()


def _options(image: Image.Image, format_name: str, quality: int) -> dict[str, Any]:
    """What Pillow's writer of a format is told beside the metadata."""
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
    if format_name in ("JPEG", "AVIF"):
        options["quality"] = quality
        if quality >= 90 and image.mode not in ("L", "LA"):
            options["subsampling"] = "4:4:4"
    if format_name == "WEBP":
        options |= {"quality": quality, "lossless": quality == 100}
    if format_name == "TIFF":
        options["big_tiff"] = image.width * image.height * len(image.getbands()) > _BIG_TIFF
        options["compression"] = "tiff_adobe_deflate"
    return options
