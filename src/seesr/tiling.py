"""Tiles of one fixed shape over a large latent, and the weights that blend them (arXiv 2302.02412).

The whole latent is sampled as one: at each step the noise is predicted tile by tile and blended before anything else
is done with it, so scheduler, noise and guidance know nothing of tiles.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch


@dataclass(frozen=True)
class Tile:
    """One tile: rows top..top+height and columns left..left+width of the latent."""

    top: int
    left: int
    height: int
    width: int

    def of(self, x: torch.Tensor, factor: int = 1) -> torch.Tensor:
        """This tile's part of (…, h, w); `factor` enlarges the tile, 8 for the picture a latent belongs to."""
        rows = slice(self.top * factor, (self.top + self.height) * factor)
        columns = slice(self.left * factor, (self.left + self.width) * factor)
        return x[..., rows, columns]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    stride = tile - overlap
    count = max(1, math.ceil((length - overlap) / stride))
    return [min(i * stride, length - tile) for i in range(count)]


def plan_tiles(height: int, width: int, tile_size: int, overlap: int) -> list[Tile]:
    """Tiles that cover a latent of `height` x `width`, all of the same shape, the last ones flush with the border.

    One tile covers it all where `height * width <= tile_size**2`. Otherwise tiles are squares of side
    min(tile_size, height, width), `overlap` apart from full.

    Raises:
        ValueError: the overlap leaves no room to advance.
    """
    if height * width <= tile_size * tile_size:
        return [Tile(0, 0, height, width)]
    side = min(tile_size, height, width)
    if not 0 <= overlap < side:
        raise ValueError(f"an overlap of {overlap} does not fit tiles of {side} latent pixels")
    return [
        Tile(top, left, side, side)
        for top, left in product(_starts(height, side, overlap), _starts(width, side, overlap))
    ]


def gaussian_weights(tile: Tile, device: torch.device | str = "cpu") -> torch.Tensor:
    """(height, width) blending weights, float32: a Gaussian of variance 0.01 tile sides squared.

    It is centred on (width-1)/2 across but on height/2 down, as in the published sampler.
    """

    def bell(n: int, centre: float) -> torch.Tensor:
        x = torch.arange(n, dtype=torch.float64)
        return torch.exp(-((x - centre) ** 2) / (n * n) / (2 * 0.01)) / math.sqrt(2 * math.pi * 0.01)

    across, down = bell(tile.width, (tile.width - 1) / 2), bell(tile.height, tile.height / 2)
    return torch.outer(down, across).to(device, torch.float32)


def blend_tiles(
    tiles: list[Tile],
    like: torch.Tensor,
    predict: Callable[[list[Tile]], torch.Tensor],
    batch_size: int,
    progress: Callable[[int], None] = lambda done: None,
) -> torch.Tensor:
    """Blend predictions made tile by tile.

    Args:
        like: (B, C, h, w); the result has its shape, in float32.
        predict: n tiles → (n, B, C, tile height, tile width); called with up to `batch_size` tiles.
        progress: called with the number of tiles done after each call.
    """
    total = torch.zeros_like(like, dtype=torch.float32)
    weight_sum = torch.zeros(like.shape[-2:], dtype=torch.float32, device=like.device)
    weights = gaussian_weights(tiles[0], like.device)
    for start in range(0, len(tiles), batch_size):
        group = tiles[start : start + batch_size]
        for tile, prediction in zip(group, predict(group), strict=True):
            tile.of(total).add_(prediction.float() * weights)
            tile.of(weight_sum).add_(weights)
        progress(start + len(group))
    return total / weight_sum
