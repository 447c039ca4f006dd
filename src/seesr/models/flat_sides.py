"""A photo continued beyond its flat sides, where a network would let the border be seen.

Convolutions see zeros beyond a photo, which is black. Beside a flat colour that becomes an edge: the outermost pixels
of pure green come out 78 levels of 255 off. With the photo mirrored there it is 10. Beside detail, zeros are what the
networks were trained with and the mirrored photo is worse, so only flat sides are continued. Along the flat sides of
photos, whose colours are no pure ones, it makes a difference of some tenths of a level (`benchmarks/borders.py`).
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

REACH = 16
"""Pixels of the photo by which a flat side is continued."""

_DEPTH = 12  # pixels from the border that count as its side
_WINDOW = 7
_FLAT = 2.0 / 255  # local standard deviation of grey below which a window is flat
_SHARE = 0.9  # of a side's windows that are flat in a flat side


class Margins(NamedTuple):
    """Pixels beyond each side."""

    left: int
    right: int
    top: int
    bottom: int


def flat_margins(image: Tensor) -> Margins:
    """`REACH` beyond each side along which `image`, (B, 3, h, w) in [0, 1], is flat in the whole batch, else 0."""
    if min(image.shape[-2:]) < _WINDOW:
        return Margins(0, 0, 0, 0)
    return Margins(*(REACH if flat_share(side) >= _SHARE else 0 for side in sides(image)))


def sides(image: Tensor, depth: int = _DEPTH) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The left, right, upper and lower `depth` pixels of `image`, (B, C, h, w)."""
    return image[..., :depth], image[..., -depth:], image[..., :depth, :], image[..., -depth:, :]


def flat_share(side: Tensor) -> float:
    """Share of the 7x7 windows of `side`, (B, 3, h, w) in [0, 1], that are flat; the least in the batch."""
    grey = side.float().mean(1, keepdim=True)
    grey = grey - grey.mean()  # squares of small numbers lose fewer digits in the difference
    variance = F.avg_pool2d(grey**2, _WINDOW, 1) - F.avg_pool2d(grey, _WINDOW, 1) ** 2
    return float((variance < _FLAT**2).float().mean((1, 2, 3)).min())


def cut(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A piece of `image`, mirrored where it lies beyond: (B, 3, height, width) at `top` and `left`, maybe negative."""
    above, before = max(0, -top), max(0, -left)
    below = max(0, top + height - image.shape[-2])
    behind = max(0, left + width - image.shape[-1])
    piece = image[..., top + above : top + height - below, left + before : left + width - behind]
    if not any((above, before, below, behind)):
        return piece
    mirrored = max(above, below) < piece.shape[-2] and max(before, behind) < piece.shape[-1]
    return F.pad(piece, (before, behind, above, below), mode="reflect" if mirrored else "replicate")
