"""Photos as they are given in Python: Pillow's pictures, NumPy arrays, tensors and paths, to pictures in RGB."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from seesr.errors import SeesrError
from seesr.photos.photo import read_photo
from seesr.photos.pictures import LEVELS, Picture, Picture16

PhotoInput = Image.Image | Picture16 | np.ndarray | torch.Tensor | str | Path
"""One photo, or a batch of them where an array or tensor has four axes."""

TAKEN = (
    "PIL pictures, paths, NumPy arrays (H, W, 3) of uint8, uint16 or floats in [0, 1], tensors (3, H, W) of floats in "
    "[0, 1], batches and lists of these"
)
_SLACK = 0.05  # resizing overshoots a little; what is further from [0, 1] is another range


def read_inputs(image: Any, sixteen_bit: bool) -> list[Picture]:
    """Upright pictures in RGB.

    Args:
        image: a `PhotoInput`, or a list or tuple of them. EXIF's orientation is applied, transparency dropped; 16 bits
            and floats are scaled by their range, whatever values occur.
        sixteen_bit: keep 16 bits where a photo has more than 8.

    Raises:
        SeesrError: it is something else, holds no photo, or has floats beyond [0, 1].
    """
    photos = [photo for each in (image if isinstance(image, list | tuple) else [image]) for photo in _pictures(each)]
    if not photos:
        raise SeesrError(f"`image` holds no photo; give {TAKEN}")
    return [photo if sixteen_bit or not isinstance(photo, Picture16) else photo.rounded() for photo in photos]


def _pictures(image: Any) -> list[Picture]:
    if isinstance(image, str | Path):
        photo = read_photo(Path(image).expanduser())
        return [photo.picture(16 if photo.sixteen is not None else 8)]
    if isinstance(image, Picture16):
        return [image]
    if isinstance(image, Image.Image):
        return [_of_pil(image)]
    if isinstance(image, torch.Tensor):
        if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3) or not image.is_floating_point():
            raise _refused(f"a tensor of {_shape(image)}, {str(image.dtype).removeprefix('torch.')}")
        image = image.detach().float().cpu().movedim(-3, -1).numpy()
    if isinstance(image, np.ndarray):
        shape = image.shape[:-1] if image.ndim > 2 else image.shape
        if not image.size:
            raise _refused(f"an empty array of {_shape(image)}")
        known = image.dtype in (np.uint8, np.uint16) or np.issubdtype(image.dtype, np.floating)
        if not known or len(shape) not in (2, 3) or (image.ndim > 2 and image.shape[-1] not in (1, 3, 4)):
            raise _refused(f"an array of {_shape(image)}, {image.dtype}")
        batch = image.reshape(-1, *shape[-2:], image.shape[-1] if image.ndim > 2 else 1)
        return [_of_array(each) for each in batch]
    raise _refused(type(image).__name__)


def _of_pil(image: Image.Image) -> Picture:
    image = ImageOps.exif_transpose(image)
    if image.mode[0] not in "IF":
        return image if image.mode == "RGB" else image.convert("RGB")
    values = np.asarray(image)
    if image.mode != "F":
        if not 0 <= values.min() <= values.max() <= LEVELS:
            raise SeesrError(f"`image` has values from {values.min()} to {values.max()}; give integers of 16 bits")
        values = values.astype(np.uint16)
    return _of_array(values[..., None])


def _of_array(values: np.ndarray) -> Picture:
    """(h, w, 1, 3 or 4) → a picture, of 16 bits where there are more than 8."""
    values = np.broadcast_to(values, (*values.shape[:2], 3)) if values.shape[2] == 1 else values[..., :3]
    if values.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(values))
    if values.dtype != np.uint16:
        low, high = float(values.min()), float(values.max())
        if not -_SLACK <= low <= high <= 1 + _SLACK:  # NaN too
            raise SeesrError(f"`image` has floats from {low:.4g} to {high:.4g}; bring them to [0, 1]")
        values = (values.astype(np.float32).clip(0, 1) * LEVELS).round().astype(np.uint16)
    return Picture16(np.ascontiguousarray(values))


def _shape(values: Any) -> str:
    return "x".join(map(str, values.shape)) or "no axes"


def _refused(what: str) -> SeesrError:
    return SeesrError(f"`image` cannot be {what}; give {TAKEN}")
