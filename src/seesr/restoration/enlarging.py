"""The photo at output size before restoration: what the ControlNet, the LR embedding and the colour fix read.

The paper enlarges bicubically, in 8-bit steps that are kept here to the pixel; a learned enlarger goes before it, and
hands on its rows as they are finished, so that its result is never held in floating point as a whole.
"""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, TypeVar, cast

import torch
from PIL import Image

from seesr.errors import SeesrError
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.photos.pictures import Picture, Picture16, to_picture, to_tensor
from seesr.restoration.sizes import output_size
from seesr.tiling.geometry import LATENT_FACTOR

P = TypeVar("P", bound=Picture)

_AT_ONCE = 64  # rows that are brought to 8 bits


def _bicubic(image: P, width: int, height: int) -> P:
    if image.size == (width, height):
        return image
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return cast(P, resized)  # of the same class


def _large_enough(image: P, scale: float, process_size: int) -> P:
    """Enlarge a photo whose shorter side would come out below `process_size`."""
    least = int(process_size // scale)
    width, height = image.size
    if min(width, height) >= least:
        return image
    s = least / min(width, height)
    image = _bicubic(image, int(s * width), int(s * height))
    return image


def _to_latent_grid(image: P) -> P:
    width, height = image.size
    side = LATENT_FACTOR
    return _bicubic(image, max(side, width // side * side), max(side, height // side * side))


def enlarge_bicubic(image: P, scale: float, process_size: int) -> P:
    """The paper's enlarging; the result's sides are multiples of 8."""
    image = _large_enough(image, scale, process_size)
    image = _bicubic(image, int(image.width * scale), int(image.height * scale))
    image = _to_latent_grid(image)
    return image


def enlarge_learned(
    enlarger: TiledEnlarger,
    image: Picture,
    scale: float,
    process_size: int,
    on_grid: bool,
    tile: int,
    progress: Callable[[int, int], None],
    sixteen_bit: bool = False,
    detail: float = 1.0,
) -> Any:
    """The learned enlarging; the result's sides are multiples of 8 with `on_grid`, else it has `output_size`.

    Args:
        tile: side of the enlarger's tiles in pixels of the photo.
        progress: called with the number of tiles done and of all.
        sixteen_bit: give a picture of 16 bits.
        detail: from 0 to 1, where an enlarger of two ends works between them.

    Raises:
        SeesrError: NaN from the network.
    """
    image = _large_enough(image, scale, process_size)
    size = output_size(image.width, image.height, scale)
    enlarged = enlarger.scale * image.width, enlarger.scale * image.height
    rows = _Rows(enlarged, size, sixteen_bit)
    with closing(enlarger.enlarge_rows(to_tensor(image), tile, progress=progress, detail=detail)) as parts:
        for part in (part for finished in parts for part in finished.split(_AT_ONCE, 2)):
            if not torch.isfinite(part).all():
                raise SeesrError(
                    "the model's output is NaN or infinite; with `dtype` float32 too, its weights are "
                    "damaged: fetch them again"
                )
            rows.append(to_picture(part, sixteen_bit))
    return _to_latent_grid(rows.result) if on_grid else rows.result


class _Rows:
    """A picture of `source` size that comes from top to bottom, resized bicubically to `size` as it comes.

    The same as resizing it as a whole, first across and then down, up to the rounding of Pillow's filter weights.
    `result` is the whole; with `sixteen_bit`, of 16 bits.
    """

    def __init__(self, source: tuple[int, int], size: tuple[int, int], sixteen_bit: bool = False) -> None:
        self.new: Callable[[tuple[int, int]], Any] = Picture16.new if sixteen_bit else partial(Image.new, "RGB")
        self.source, self.result = source, self.new(size)
        self.step = source[1] / size[1]  # rows of the source for one of the result
        self.reach = 2 * max(1.0, self.step)  # of the bicubic filter, in rows of the source
        self.waiting = self.new((size[0], 0))
        self.first = 0  # row of the source with which `waiting` begins
        self.done = 0  # rows of the result

    def append(self, rows: Any) -> None:
        if self.source == self.result.size:
            self.result.paste(rows, (0, self.done))
            self.done += rows.height
            return
        rows = _bicubic(rows, self.result.width, rows.height)
        waiting = self.new((rows.width, self.waiting.height + rows.height))
        waiting.paste(self.waiting, (0, 0))
        waiting.paste(rows, (0, self.waiting.height))
        self.waiting = waiting
        end = self.first + waiting.height
        until = self.result.height if end == self.source[1] else int((end - self.reach) / self.step - 0.5)
        if until <= self.done:
            return
        top, bottom = self.done * self.step - self.first, until * self.step - self.first
        box = (0, top, waiting.width, min(bottom, waiting.height))
        resized = waiting.resize((waiting.width, until - self.done), Image.Resampling.BICUBIC, box)
        self.result.paste(resized, (0, self.done))
        self.done = until
        unused = max(0, int(self.done * self.step - self.reach) - 1 - self.first)
        self.waiting = waiting.crop((0, unused, waiting.width, waiting.height))
        self.first += unused
