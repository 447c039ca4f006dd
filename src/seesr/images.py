"""Photos in and out: orientation, colour profile and transparency on the way in, whole files only on the way out."""

import os
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from seesr.errors import SeesrError

READABLE = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
WRITABLE = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_NO_ALPHA = frozenset({".jpeg", ".jpg", ".bmp"})


@dataclass(frozen=True)
class Photo:
    """A photo as it is meant to be seen.

    rgb: mode RGB, upright, in sRGB. alpha: mode L, the same size, or None. exif: the file's EXIF block without its
    orientation, or None.
    """

    rgb: Image.Image
    alpha: Image.Image | None = None
    exif: bytes | None = None


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError:
        return image  # a profile that does not fit the picture: viewers ignore it as well
    return converted or image


def _to_eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16-bit grey; Pillow's own conversion would clip instead of scale
        values = np.asarray(image).astype(np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values.clip(0, top) / top * 255).round().astype(np.uint8))
    return image


def read_photo(path: Path) -> Photo:
    """Read the first frame of an image file.

    Raises:
        SeesrError: no such file, not an image, cut short, or larger than Pillow's decompression-bomb limit.
    """
    try:
        with Image.open(path) as image:
            image.load()
            alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
            exif = image.getexif()
            exif.pop(0x0112, None)
            rgb = _to_srgb(_to_eight_bit(image).convert("RGB") if alpha else _to_eight_bit(image)).convert("RGB")
            rgb = _upright(rgb, image)
            return Photo(rgb, _upright(alpha, image) if alpha else None, exif.tobytes() if len(exif) else None)
    except FileNotFoundError as error:
        raise SeesrError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise SeesrError(f"{path}: not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise SeesrError(f"{path}: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SeesrError(f"{path}: the image is damaged or cut short ({error})") from error


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    oriented = image.copy()
    orientation = source.getexif().get(0x0112, 1)
    if orientation != 1:
        oriented.getexif()[0x0112] = orientation
        oriented = ImageOps.exif_transpose(oriented)
    return oriented


def write_photo(image: Image.Image, path: Path, exif: bytes | None = None, quality: int = 95) -> None:
    """Write `image` to `path`, whole or not at all; the format follows the suffix.

    Raises:
        SeesrError: an unknown suffix, or the folder cannot be written.
    """
    check_writable(path)
    if path.suffix.lower() in _NO_ALPHA:
        image = image.convert("RGB")
    options = {"quality": quality} if path.suffix.lower() not in (".png", ".bmp") else {}
    if exif:
        options["exif"] = exif  # type: ignore[assignment]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        try:
            image.save(name, **options)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise SeesrError(f"{path}: cannot be written ({error.strerror or error})") from error


def check_writable(path: Path) -> None:
    """Raise SeesrError if `path` has a suffix no writer takes, or lies in a place that cannot be written."""
    if path.suffix.lower() not in WRITABLE:
        raise SeesrError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(sorted(WRITABLE))}"
        )
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SeesrError(f"{path}: {folder} is not a folder that can be written")


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB picture → (1, 3, h, w), float32 in [0, 1]."""
    array = np.array(image.convert("RGB"), dtype=np.float32) / 255.0
    return torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_pil(image: torch.Tensor, truncate: bool = False) -> Image.Image:
    """(1, 3, h, w) in [0, 1] → RGB picture, rounded to 8 bit (or truncated, as the published colour fix does)."""
    scaled = image[0].float().clamp(0, 1) * 255
    values = scaled if truncate else scaled.round()
    return Image.fromarray(values.byte().permute(1, 2, 0).cpu().numpy())


def side_by_side(before: Image.Image, after: Image.Image, gap: int = 8) -> Image.Image:
    """The photo, enlarged bicubically to the size of the result, beside the result."""
    before = before.convert("RGB").resize(after.size, Image.Resampling.BICUBIC)
    sheet = Image.new("RGB", (2 * after.width + gap, after.height), "white")
    sheet.paste(before, (0, 0))
    sheet.paste(after.convert("RGB"), (after.width + gap, 0))
    return sheet
