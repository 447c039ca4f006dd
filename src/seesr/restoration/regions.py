"""Words for places: a prompt of its own for a part of the photo, `"x,y,w,h: words"`.

Each tile that a region touches is predicted a second time with the region's words, and the two predictions are blended
by the region's weights, as tiles are blended (MultiDiffusion, arXiv 2302.02412): 1 inside, falling to 0 at its border
along a raised cosine. Outside of a region a prediction is the same bit for bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from seesr.errors import SeesrError

if TYPE_CHECKING:  # the settings are read without waiting for PyTorch
    from torch import Tensor

_EDGE = 6.0  # latent pixels along which a region's words set in, or a quarter of its side if that is less
FORM = "x,y,w,h: words, in pixels of the photo or in fractions, as in 0,0,0.5,1: weathered brick"


@dataclass(frozen=True)
class Region:
    """A part of the photo and its words.

    left, top, width, height: in pixels of the upright photo; where none is more than 1, in fractions of its sides.
    text: as it was given.
    """

    left: float
    top: float
    width: float
    height: float
    words: str
    text: str

    @staticmethod
    def parse(text: str) -> "Region":
        """The region written as `text`.

        Raises:
            SeesrError: it has no four numbers, no area or no words, or begins outside of every photo.
        """
        place, colon, words = text.partition(":")
        try:
            left, top, width, height = (float(number) for number in place.split(","))
        except ValueError:
            colon = ""
        if not colon or not all(map(math.isfinite, (left, top, width, height))):
            raise SeesrError(f"`regions` cannot be {text!r}; give {FORM}")
        if width <= 0 or height <= 0:
            raise SeesrError(f"`regions`: {text!r} is empty; its width and height must be more than 0")
        if left < 0 or top < 0:
            raise SeesrError(f"`regions`: {text!r} begins outside of the photo; x and y are 0 or more")
        if not words.strip():
            raise SeesrError(f"`regions`: {text!r} has no words; give {FORM}")
        return Region(left, top, width, height, words.strip(), text)

    def box(self, photo: tuple[int, int]) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in fractions of a photo of that size, (width, height).

        Raises:
            SeesrError: it reaches beyond the photo.
        """
        across, down = (1, 1) if max(self.left, self.top, self.width, self.height) <= 1 else photo
        box = self.left / across, self.top / down, (self.left + self.width) / across, (self.top + self.height) / down
        if max(box) > 1 + 1e-6:
            raise SeesrError(f"`regions`: {self.text!r} reaches beyond the photo, {photo[0]} x {photo[1]} pixels")
        left, top, right, bottom = (min(side, 1.0) for side in box)
        return left, top, right, bottom

    def weights(self, photo: tuple[int, int], height: int, width: int) -> "Tensor":
        """(height, width) of the latents, float32 in [0, 1]: the share of this region's words.

        Raises:
            SeesrError: it reaches beyond the photo, or is smaller than a latent pixel.
        """
        import torch

        left, top, right, bottom = self.box(photo)
        weights = torch.outer(_rise(top, bottom, height), _rise(left, right, width))
        if not weights.any():
            least = max(1, math.ceil(photo[0] / width))
            raise SeesrError(f"`regions`: {self.text!r} is too small; give {least} x {least} pixels or more")
        return weights


def _rise(first: float, last: float, length: int) -> "Tensor":
    """(length,) weights of a stretch between two fractions of a side; a border of the photo is no edge."""
    import torch

    place, first, last = torch.arange(length) + 0.5, first * length, last * length
    edge = max(1.0, min(_EDGE, (last - first) / 4))
    ahead = torch.full_like(place, torch.inf) if first <= 0 else place - first
    behind = torch.full_like(place, torch.inf) if last >= length - 1e-6 * length else last - place
    share = torch.minimum(ahead, behind).clamp(0, edge) / edge
    return (share * math.pi / 2).sin().square()


def overlap_note(regions: Sequence[Region], photo: tuple[int, int]) -> str:
    """What happens where regions overlap, if any do; else "".

    Raises:
        SeesrError: one reaches beyond the photo.
    """
    boxes = [region.box(photo) for region in regions]

    def meet(pair: tuple[int, int]) -> bool:
        a, b = (boxes[number] for number in pair)
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

    pairs = [f"{a + 1} and {b + 1}" for a, b in combinations(range(len(regions)), 2) if meet((a, b))]
    return f"`regions` {', '.join(pairs)} overlap; there the later one holds" if pairs else ""
