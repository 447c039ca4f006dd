"""Pictures of 16 bits a channel: what Pillow has no mode for."""

from typing import Any

import numpy as np
from PIL import Image

LEVELS = 65535


class DeepPicture:
    """RGB of 16 bits a channel, with those methods of Pillow's pictures that a restoration uses.

    values: (h, w, 3), uint16.
    """

    mode = "RGB"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @classmethod
    def new(cls, size: tuple[int, int]) -> "DeepPicture":
        """A black picture of `size` (width, height)."""
        return cls(np.zeros((size[1], size[0], 3), np.uint16))

    @classmethod
    def of(cls, picture: Image.Image) -> "DeepPicture":
        """An 8-bit picture with the same colours."""
        return cls(np.asarray(picture.convert("RGB")).astype(np.uint16) * 257)

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def width(self) -> int:
        return self.values.shape[1]

    @property
    def height(self) -> int:
        return self.values.shape[0]

    def crop(self, box: tuple[int, int, int, int]) -> "DeepPicture":
        """The part left, top, right, bottom, which must lie inside; it shares its memory."""
        left, top, right, bottom = box
        return DeepPicture(self.values[top:bottom, left:right])

    def paste(self, other: "DeepPicture", box: tuple[int, ...]) -> None:
        """Put `other` at (left, top, …)."""
        left, top = box[:2]
        self.values[top : top + other.height, left : left + other.width] = other.values

    def resize(
        self,
        size: tuple[int, int],
        resample: Any = Image.Resampling.BICUBIC,
        box: tuple[float, float, float, float] | None = None,
    ) -> "DeepPicture":
        """As Pillow's, one channel at a time in floating point."""
        resized = DeepPicture.new(size)
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


Picture = Image.Image | DeepPicture
"""A picture between the stages of a restoration: of 8 bits, as in the published code, or of 16."""
