"""What learned enlargers share: tiles of bounded memory, the photo's own colours, weights between trainings."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesr.models.flat_sides import Margins, cut, flat_margins
from seesr.models.network import Network
from seesr.models.two_ends import FILE_NAME, TwoEnds
from seesr.tiling.geometry import cheapest_tile, even_starts

SCALE = 4
TILE = 480
"""A tile has so many pixels of the photo as a square of this side, in whatever shape is least work for the photo.

Twice as large a side is little less work and four times the memory, 256 up to twice the work (`benchmarks/tiles.py`).
"""
OVERLAP = 80
"""What neighbouring tiles share, in pixels of the photo, and of tiles smaller than `WHOLE_FROM` the same part.

A pixel 40 from a border that the photo does not have is off by a quarter of a level of 255, which is also what bfloat16
rounds; one 16 from it by 1.7.
"""
WHOLE_FROM = 256
"""Side from which on tiles share `OVERLAP` whole."""

Self = TypeVar("Self", bound="TiledEnlarger")


class TiledEnlarger(Network):
    """A network whose `forward` takes (B, 3, h, w) in [0, 1] to (B, 3, kh, kw), nominally in [0, 1] but not clamped.

    scale: how many times as large the result is, the k here and below; 4 of this project's own.
    can_be_cut: whether a photo may be worked on in tiles.
    largest_tile: what `TILE` is for it.
    overlap: pixels of the photo that neighbouring tiles share, see `OVERLAP`.
    anchor: side, in pixels of the photo, of the squares whose mean colour `enlarge` keeps (see `anchored`); 0: it shows
        what the network says.
    ends: the way to its calm end, of networks that have two (`seesr.models.two_ends`).
    """

    scale: int = SCALE
    can_be_cut: bool = True
    largest_tile: int = TILE
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
    ) -> Generator[Tensor, None, None]:
        """Enlarge a photo of any size in overlapping tiles of one shape; yields the result from top to bottom.

        Args:
            image: (B, 3, h, w) in [0, 1], of any size. It is continued beyond its flat sides, see
                `seesr.models.flat_sides`.
            tile: a tile has at most so many pixels of `image` as a square of this side, and not more than the network's
                own. Memory is bounded by it, but for one row of tiles of the result.
            overlap: pixels that neighbouring tiles share, by itself the network's own or the same part of a smaller
                tile; the blend is linear across the middle half of them, so that no pixel is taken from nearer than
                `overlap / 4` to a border that the photo does not have.
            progress: called with the number of parts done and of all; a tile has `1 + len(paces())`.
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
        down, across, overlap = self.tile_shape(height, width, tile, overlap)
        tops, lefts = even_starts(height, down, overlap), even_starts(width, across, overlap)
        with self._paced(len(tops) * len(lefts), progress) as done:

            def enlarged(top: int, left: int) -> Tensor:
                part = self.enlarge_tile(cut(image, top - margins.top, left - margins.left, down, across))
                done()
                return part

            if len(tops) * len(lefts) == 1:
                yield enlarged(0, 0)
                return
            k = self.scale
            below = _tile_weights(tops, height, down, overlap, image, k)
            beside = _tile_weights(lefts, width, across, overlap, image, k)
            rows = image.new_zeros(*image.shape[:-2], k * down, k * width)
            for top, fade, following in zip(tops, below, [*tops[1:], height]):
                for left, weight in zip(lefts, beside):
                    piece = enlarged(top, left)  # (B, 3, k*down, k*across)
                    piece *= fade[:, None] * weight
                    rows[..., k * left : k * (left + across)] += piece
                finished = k * (following - top)
                yield rows[..., :finished, :]
                begun = rows[..., finished:, :].clone()  # its lower neighbours are to be added
                rows.zero_()[..., : begun.shape[-2], :] = begun

    def tile_shape(self, height: int, width: int, tile: int = TILE, overlap: int | None = None) -> tuple[int, int, int]:
        """Rows and columns of the tiles of a photo of that size, and what neighbours share; as for `enlarge_rows`.

        Raises:
            ValueError: an overlap that leaves tiles no room to advance.
        """
        tile = min(tile, self.largest_tile)
        overlap = min(self.overlap, tile * self.overlap // WHOLE_FROM) if overlap is None else overlap
        if not self.can_be_cut or height * width <= tile * tile:
            return height, width, 0
        return *cheapest_tile(height, width, tile * tile, overlap), overlap

    def paces(self) -> Sequence[nn.Module]:
        """Parts of the network that take much of a tile's time, for the progress within one."""
        return ()

    @contextmanager
    def _paced(self, tiles: int, progress: Callable[[int, int], None]) -> Iterator[Callable[[], None]]:
        """Tell `progress` of each part of `tiles` tiles; gives what is to be called after each tile.

        Other threads may work with the network meanwhile, which is none of this one's progress.
        """
        paces, here = self.paces(), get_ident()
        parts, ended, within = 1 + len(paces), 0, 0

        def passed(*_: object) -> None:
            nonlocal within
            if get_ident() == here:
                within = min(within + 1, len(paces))
                progress(ended * parts + within, tiles * parts)

        def done() -> None:
            nonlocal ended, within
            ended, within = ended + 1, 0
            progress(ended * parts, tiles * parts)

        hooks = [module.register_forward_hook(passed) for module in paces]
        try:
            yield done
        finally:
            for hook in hooks:
                hook.remove()

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
