"""Pictures between files and networks: 8-bit ones of Pillow, 16-bit ones that Pillow has no mode for, and tensors."""

from typing import Any

import numpy as np
import torch
from PIL import Image

LEVELS = 65535


class Picture16:
    """RGB of 16 bits a channel, with those methods of Pillow's pictures that a restoration uses.

    values: (h, w, 3), uint16.
    """

    mode = "RGB"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @classmethod
    def new(cls, size: tuple[int, int]) -> "Picture16":
        """A black picture of `size` (width, height)."""
        return cls(np.zeros((size[1], size[0], 3), np.uint16))

    @classmethod
    def of(cls, picture: Image.Image) -> "Picture16":
        """An 8-bit picture with the same colours."""
        return cls(np.asarray(picture.convert("RGB")).astype(np.uint16) * 257)

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @property
    def height(self) -> int:
        return int(self.values.shape[0])

    def crop(self, box: tuple[int, int, int, int]) -> "Picture16":
        """The part left, top, right, bottom, which must lie inside; it shares its memory."""
        left, top, right, bottom = box
        return Picture16(self.values[top:bottom, left:right])

    def paste(self, other: "Picture16", box: tuple[int, ...]) -> None:
        """Put `other` at (left, top, …)."""
        left, top = box[:2]
        self.values[top : top + other.height, left : left + other.width] = other.values

    def resize(
        self,
        size: tuple[int, int],
        resample: Any = Image.Resampling.BICUBIC,
        box: tuple[float, float, float, float] | None = None,
    ) -> "Picture16":
        """As Pillow's, one channel at a time in floating point."""
        resized = Picture16.new(size)
        for channel in range(3):
            plane = Image.fromarray(self.values[..., channel].astype(np.float32)).resize(size, resample, box)
            resized.values[..., channel] = np.asarray(plane).round().clip(0, LEVELS)
        return resized

    def rounded(self) -> Image.Image:
        """The picture in 8 bits."""
        return Image.fromarray(((self.values.astype(np.uint32) + 128) // 257).astype(np.uint8))

    def histogram(self) -> list[int]:
        """Of the rounded picture: 256 counts for each channel, one channel after the other."""
        return self.rounded().histogram()


Picture = Image.Image | Picture16
"""A picture between the stages of a restoration: of 8 bits, as in the published code, or of 16."""


_GAP = 8  # pixels between the two pictures of a side-by-side


def to_tensor(image: Picture) -> torch.Tensor:
    """RGB picture → (1, 3, h, w), float32 in [0, 1]."""
    if isinstance(image, Picture16):
        array, top = image.values.astype(np.float32), LEVELS
    else:
        array, top = np.array(image.convert("RGB"), dtype=np.float32), 255
    array /= top
    return torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_pil(image: torch.Tensor, truncate: bool = False) -> Image.Image:
    """(1, 3, h, w) in [0, 1] → RGB picture, rounded to 8 bit (or truncated, as the published colour fix does)."""
    scaled = image[0].float().clamp(0, 1) * 255
    values = scaled if truncate else scaled.round()
    return Image.fromarray(values.byte().permute(1, 2, 0).cpu().numpy())


def to_picture(image: torch.Tensor, sixteen_bit: bool, truncate: bool = False) -> Picture:
    """As `to_pil`; with `sixteen_bit` a picture of 16 bits, rounded."""
    if not sixteen_bit:
        return to_pil(image, truncate)
    values = (image[0].float().clamp(0, 1) * LEVELS).round().permute(1, 2, 0).cpu().numpy()
    return Picture16(values.astype(np.uint16))


def side_by_side(before: Image.Image, after: Image.Image, longest: int | None = None) -> Image.Image:
    """The photo, enlarged bicubically to the size of the result, beside the result; both in sRGB.

    Args:
        longest: pixels that no side of the sheet may exceed (`longest_side`). Where the two would, one stands above the
            other, and where that is too much as well, both are made smaller.
    """
    width, height = after.size
    across = longest is None or 2 * width + _GAP <= longest
    if longest is not None and not across:
        shrink = min(1.0, longest / width, (longest - _GAP) / (2 * height))
        width, height = max(1, int(width * shrink)), max(1, int(height * shrink))
    right, down = (width + _GAP, 0) if across else (0, height + _GAP)
    sheet = Image.new("RGB", (width + right, height + down), "white")
    for picture, place in ((before, (0, 0)), (after, (right, down))):
        sheet.paste(flatten(picture).convert("RGB").resize((width, height), Image.Resampling.BICUBIC), place)
    return sheet


def flatten(image: Image.Image) -> Image.Image:
    """A picture without transparency, laid on white: L if it was LA, RGB if it was RGBA, else as it is."""
    if image.mode not in ("LA", "RGBA"):
        return image
    opaque = Image.new(image.mode[:-1], image.size, "white")
    opaque.paste(image.convert(opaque.mode), mask=image.getchannel("A"))
    opaque.info = dict(image.info)
    return opaque
