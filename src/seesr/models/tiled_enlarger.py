"""What learned enlargers share: tiles of bounded memory, the photo's own colours, weights between trainings."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from seesr.models.flat_sides import Margins, cut, flat_margins
from seesr.models.network import Network
from seesr.models.two_ends import FILE_NAME, TwoEnds
from seesr.tiling.geometry import even_starts

SCALE = 4
TILE = 256
OVERLAP = 80
"""Side of a tile and what neighbours share, in pixels of the photo; of smaller tiles they share the same part.

A pixel 40 from a border that the photo does not have is off by a quarter of a level of 255, which is also what bfloat16
rounds; one 16 from it by 1.7.
"""

Self = TypeVar("Self", bound="TiledEnlarger")


class TiledEnlarger(Network):
    """A network whose `forward` takes (B, 3, h, w) in [0, 1] to (B, 3, kh, kw), nominally in [0, 1] but not clamped.

    scale: how many times as large the result is, the k here and below; 4 of this project's own.
    can_be_cut: whether a photo may be worked on in tiles.
    overlap: pixels of the photo that neighbouring tiles of `TILE` share.
    anchor: side, in pixels of the photo, of the squares whose mean colour `enlarge` keeps (see `anchored`); 0: it shows
        what the network says.
    ends: the way to its calm end, of networks that have two (`seesr.models.two_ends`).
    """

    scale: int = SCALE
    can_be_cut: bool = True
    overlap: int = OVERLAP
    anchor: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.ends: TwoEnds | None = None

    @classmethod
    def from_pretrained(cls: type[Self], folder: Path | str, torch_dtype: torch.dtype = torch.float32) -> Self:
        """As `Network.from_pretrained`; with its calm end, where the folder holds one."""
        network = super().from_pretrained(folder, torch_dtype)
        if (Path(folder) / FILE_NAME).is_file():
            network.ends = TwoEnds.read(network, Path(folder) / FILE_NAME)
        return network

    def save_pretrained(self, folder: Path | str, *args: Any, **kwargs: Any) -> None:
        """As `Network.save_pretrained`, with both ends; a calm end of other weights that lies there is removed."""
        if self.ends is not None:
            self.ends.move(self, 1.0)
        super().save_pretrained(folder, *args, **kwargs)
        if self.ends is not None:
            self.ends.write(Path(folder) / FILE_NAME)
        else:
            (Path(folder) / FILE_NAME).unlink(missing_ok=True)

    @torch.no_grad()
    def enlarge(
        self,
        image: Tensor,
        tile: int = TILE,
        overlap: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        detail: float = 1.0,
    ) -> Tensor:
        """The photo enlarged and clamped to [0, 1]; arguments as for `enlarge_rows`.

        Returns:
            (B, 3, kh, kw) in [0, 1], on the device and of the dtype of `image`.
        """
        height, width = image.shape[-2:]
        result, top = image.new_empty(*image.shape[:-2], self.scale * height, self.scale * width), 0
        for rows in self.enlarge_rows(image, tile, overlap, progress, detail):
            result[..., top : top + rows.shape[-2], :] = rows
            top += rows.shape[-2]
        return result

    @torch.no_grad()
    def enlarge_rows(
        self,
        image: Tensor,
        tile: int = TILE,
        overlap: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        detail: float = 1.0,
    ) -> Iterator[Tensor]:
        """Enlarge a photo of any size in overlapping tiles of one shape; yields the result from top to bottom.

        Args:
            image: (B, 3, h, w) in [0, 1], of any size. It is continued beyond its flat sides, see
                `seesr.models.flat_sides`.
            tile: side of a tile in pixels of `image`. Memory is bounded by it, but for one row of tiles of the result.
            overlap: pixels that neighbouring tiles share, by itself the network's own or the same part of a smaller
                tile; the blend is linear across the middle half of them, so that no pixel is taken from nearer than
                `overlap / 4` to a border that the photo does not have.
            progress: called with the number of tiles done and of all.
            detail: in [0, 1], from the calm end to the detailed one; networks that have one end pass over it.

        Yields:
            (B, 3, rows, kw) in [0, 1], on the device and of the dtype of `image`, which need not be the network's; its
            values hold until the next rows are asked for.
        """
        if self.ends is not None:
            self.ends.move(self, detail)
        k, margins = self.scale, flat_margins(image)
        across = slice(k * margins.left, k * (margins.left + image.shape[-1]))
        top, skipped = 0, k * margins.top  # rows of the result yielded, and rows above it
        for rows in self._enlarge_rows(image, margins, tile, overlap, progress):
            above = min(skipped, rows.shape[-2])
            skipped -= above
            finished = rows[..., above : above + k * image.shape[-2] - top, across]
            if finished.shape[-2]:
                top += finished.shape[-2]
                yield finished

    def _enlarge_rows(
        self,
        image: Tensor,
        margins: Margins,
        tile: int,
        overlap: int | None,
        progress: Callable[[int, int], None],
    ) -> Iterator[Tensor]:
        """As `enlarge_rows`, for the photo continued by `margins`, whose rows and columns are yielded too."""
        height = image.shape[-2] + margins.top + margins.bottom
        width = image.shape[-1] + margins.left + margins.right

        def part(top: int, left: int) -> Tensor:
            return cut(image, top - margins.top, left - margins.left, min(tile, height), min(tile, width))

        overlap = min(self.overlap, tile * self.overlap // TILE) if overlap is None else overlap
        if not self.can_be_cut:
            tile = max(height, width)
        if height <= tile and width <= tile:
            result = self.enlarge_tile(part(0, 0))
            progress(1, 1)
            yield result
            return
        k = self.scale
        tops, lefts = even_starts(height, tile, overlap), even_starts(width, tile, overlap)
        across = _tile_weights(lefts, width, tile, overlap, image, k)
        rows, done = image.new_zeros(*image.shape[:-2], k * min(tile, height), k * width), 0
        for top, down, following in zip(
            tops, _tile_weights(tops, height, tile, overlap, image, k), [*tops[1:], height]
        ):
            for left, weight in zip(lefts, across):
                enlarged = self.enlarge_tile(part(top, left))
                enlarged *= down[:, None] * weight  # (B, 3, k*tile, k*tile)
                x = k * left
                rows[..., x : x + enlarged.shape[-1]] += enlarged
                done += 1
                progress(done, len(tops) * len(lefts))
            finished = k * (following - top)
            yield rows[..., :finished, :]
            begun = rows[..., finished:, :].clone()  # its lower neighbours are to be added
            rows.zero_()[..., : begun.shape[-2], :] = begun

    def enlarge_tile(self, image: Tensor) -> Tensor:
        """The network's picture of `image`, (B, 3, h, w) in [0, 1], at once: clamped, and anchored if it asks for it.

        Returns:
            (B, 3, kh, kw) in [0, 1], on the device and of the dtype of `image`.
        """
        enlarged = self.forward(image.to(self.device, self.dtype)).clamp_(0, 1).to(image.device, image.dtype)
        return anchored(enlarged, image, self.anchor) if self.anchor else enlarged


def anchored(enlarged: Tensor, image: Tensor, side: int) -> Tensor:
    """`enlarged` with the brightness and colour that `image` has over some `side` pixels.

    A network trained against discriminators shifts them by some levels of 255, now and then over a whole picture; blur,
    noise and JPEG hardly do, so the photo is right. The difference of local means is smoothed and taken off.

    Args:
        enlarged: (B, 3, 4h, 4w) in [0, 1]. image: (B, 3, h, w) in [0, 1].
    """
    right, wrong = (
        F.avg_pool2d(picture.float(), size, ceil_mode=True)
        for picture, size in ((image, side), (enlarged, SCALE * side))
    )
    smooth = F.avg_pool2d(F.pad(right - wrong, (1, 1, 1, 1), mode="replicate"), 2, stride=1)
    smooth = F.avg_pool2d(smooth, 2, stride=1)  # twice: weights 1, 2, 1
    height, width = enlarged.shape[-2:]
    shift = F.interpolate(smooth, scale_factor=SCALE * side, mode="bilinear")[..., :height, :width]
    return (enlarged + shift).clamp(0, 1).to(enlarged.dtype)


def interpolate_weights(a: Mapping[str, Tensor], b: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    """(1 - weight)*a + weight*b, tensor by tensor: network interpolation between two fine-tunings (ESRGAN §3.4).

    Raises:
        ValueError: the two do not hold the same tensors.
    """
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        raise ValueError("only weights of the same architecture can be interpolated")
    return {name: torch.lerp(a[name].float(), b[name].float(), weight).to(a[name].dtype) for name in a}


def _tile_weights(starts: list[int], size: int, tile: int, overlap: int, like: Tensor, scale: int) -> list[Tensor]:
    """Blending weights of each tile along one side, (scale*tile,), which add up to 1 at every pixel of the result.

    They are 0 in the outer quarter of the overlap and 1 from three quarters on, except at the borders of the photo.
    """
    tile = min(tile, size)
    position = torch.arange(scale * tile, device=like.device) + 0.5
    up = ((position / scale - overlap / 4) / (overlap / 2)).clamp(0, 1)
    total = torch.zeros(scale * size, device=like.device)
    weights = []
    for start in starts:
        weight = torch.ones_like(position)
        if start > 0:
            weight *= up
        if start + tile < size:
            weight *= up.flip(0)
        weights.append(weight)
        total[scale * start : scale * (start + tile)] += weight
    return [(w / total[scale * s : scale * (s + tile)]).to(like.dtype) for w, s in zip(weights, starts)]
