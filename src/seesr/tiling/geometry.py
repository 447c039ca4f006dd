"""Tiles of one fixed shape over a large latent, and the weights that blend them (arXiv 2302.02412).

The whole latent is sampled as one: at each step the noise is predicted tile by tile and blended before anything else
is done with it, so scheduler, noise and guidance know nothing of tiles. Two geometries:

- "gaussian", as published: squares a stride apart, the last flush with the border, weighted by a Gaussian so narrow
  that one tile gives way to the next within some six latent pixels, however wide they overlap.
- "cosine": tiles spread evenly; one gives way to the next along a raised cosine over all of their overlap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import torch

BLENDS = ("gaussian", "cosine")


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

    def scaled(self, factor: float) -> "Tile":
        """The same part at `factor` times the resolution."""
        return Tile(*(int(side * factor) for side in (self.top, self.left, self.height, self.width)))

    def grown(self, margin: int, height: int, width: int) -> "Tile":
        """With a margin on all sides, as far as `height` x `width` has room for it."""
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        bottom, right = min(height, self.top + self.height + margin), min(width, self.left + self.width + margin)
        return Tile(top, left, bottom - top, right - left)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom), as Pillow has it."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def partition(height: int, width: int, side: int) -> list[Tile]:
    """Tiles of at most `side` that cover a latent without overlap, as equal in size as they can be, row by row."""

    def cuts(length: int) -> list[int]:
        count = math.ceil(length / side)
        return [i * length // count for i in range(count + 1)]

    return [
        Tile(top, left, bottom - top, right - left)
        for top, bottom in pairwise(cuts(height))
        for left, right in pairwise(cuts(width))
    ]


def plan_tiles(height: int, width: int, tile_size: int, overlap: int, blend: str = "gaussian") -> list[Tile]:
    """Tiles that cover a latent of `height` x `width`, all of the same shape, row by row.

    One tile covers it all where `height * width <= tile_size**2`. Otherwise "gaussian" takes squares of side
    min(tile_size, height, width), "cosine" rectangles of min(tile_size, height) x min(tile_size, width). Neighbours
    share `overlap` latent pixels, or more where the border makes them.

    Raises:
        ValueError: the overlap leaves no room to advance.
    """
    if height * width <= tile_size * tile_size:
        return [Tile(0, 0, height, width)]
    square = min(tile_size, height, width)
    rows, columns = (square, square) if blend == "gaussian" else (min(tile_size, height), min(tile_size, width))
    starts = _flush_starts if blend == "gaussian" else even_starts
    return [
        Tile(top, left, rows, columns)
        for top, left in product(starts(height, rows, overlap), starts(width, columns, overlap))
    ]


def _count(length: int, tile: int, overlap: int) -> int:
    if length <= tile:
        return 1
    if not 0 <= overlap < tile:
        raise ValueError(f"an overlap of {overlap} does not fit tiles of {tile} latent pixels")
    return math.ceil((length - overlap) / (tile - overlap))


def _flush_starts(length: int, tile: int, overlap: int) -> list[int]:
    return [min(i * (tile - overlap), length - tile) for i in range(_count(length, tile, overlap))]


def even_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixel of every tile along one side, evenly spread; neighbours share at least `overlap` pixels.

    Raises:
        ValueError: the overlap leaves no room to advance.
    """
    count = _count(length, tile, overlap)
    return [round(i * (length - tile) / max(1, count - 1)) for i in range(count)]


def cheapest_tile(height: int, width: int, area: int, overlap: int) -> tuple[int, int]:
    """Rows and columns of the tiles of at most `area` pixels that cover a picture with the least work in all.

    Neighbours share at least `overlap` pixels, which are worked on twice, so tiles that fit the picture save much work:
    with 80 shared, two of 480x360 cover 640x480 pixels, and twelve of 256x256, which are 2.3 times as many pixels.

    Raises:
        ValueError: no tile of that area leaves room to advance.
    """
    found: list[tuple[int, int, int, int]] = []  # pixels worked on, tiles, rows, columns
    for down in range(1, height + 1):
        rows = math.ceil((height + (down - 1) * overlap) / down)
        if down > 1 and rows <= overlap:
            break
        widest = area // rows
        if widest < width and widest <= overlap:
            continue
        across = _count(width, widest, overlap)
        columns = math.ceil((width + (across - 1) * overlap) / across)
        found.append((down * across * rows * columns, down * across, rows, columns))
    if not found:
        raise ValueError(f"an overlap of {overlap} does not fit tiles of {area} pixels")
    return min(found)[2:]


def gaussian_weights(tile: Tile, device: torch.device | str = "cpu") -> torch.Tensor:
    """(height, width) blending weights, float32: a Gaussian of variance 0.01 tile sides squared.

    It is centred on (width-1)/2 across but on height/2 down, as in the published sampler.
    """

    def bell(n: int, centre: float) -> torch.Tensor:
        x = torch.arange(n, dtype=torch.float64)
        return torch.exp(-((x - centre) ** 2) / (n * n) / (2 * 0.01)) / math.sqrt(2 * math.pi * 0.01)

    across, down = bell(tile.width, (tile.width - 1) / 2), bell(tile.height, tile.height / 2)
    return _outer(down, across, device)


def _outer(down: torch.Tensor, across: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    return torch.outer(down, across).to(device, torch.float32)


def cosine_weights(starts: list[int], tile: int) -> dict[int, torch.Tensor]:
    """Start of a tile along one side → its weights, (tile,): 1, and a raised cosine where it meets a neighbour."""

    def rise(overlap: int) -> torch.Tensor:
        weights = torch.ones(tile, dtype=torch.float64)
        position = (torch.arange(overlap, dtype=torch.float64) + 0.5) / max(1, overlap)
        weights[:overlap] = torch.sin(position * math.pi / 2).square()
        return weights

    starts = sorted(set(starts))
    overlaps = [0, *(first + tile - second for first, second in pairwise(starts)), 0]
    return {start: rise(before) * rise(after).flip(0) for start, before, after in zip(starts, overlaps, overlaps[1:])}


class Blend:
    """Predictions made tile by tile, blended. The weights are made once, for all steps.

    Args:
        tiles: of one shape; height, width: of the latent they cover.
        kind: "gaussian" or "cosine", as the tiles were planned.
    """

    def __init__(self, tiles: list[Tile], height: int, width: int, kind: str, device: torch.device | str = "cpu"):
        self.tiles = tiles
        if kind == "gaussian":
            self.weights = [gaussian_weights(tiles[0], device)] * len(tiles)
        else:
            down = cosine_weights([tile.top for tile in tiles], tiles[0].height)
            across = cosine_weights([tile.left for tile in tiles], tiles[0].width)
            self.weights = [_outer(down[tile.top], across[tile.left], device) for tile in tiles]
        self.total = torch.zeros(height, width, device=device)
        for tile, weights in zip(tiles, self.weights):
            tile.of(self.total).add_(weights)

    def __call__(
        self,
        like: torch.Tensor,
        predict: Callable[[list[Tile]], torch.Tensor],
        batch_size: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> torch.Tensor:
        """Blend what is predicted for all tiles.

        Args:
            like: (B, C, height, width); the result has its shape, in float32.
            predict: n tiles → (n, B, C, tile height, tile width); called with up to `batch_size` tiles.
            progress: called with the number of tiles done after each call.
        """
        blended = torch.zeros_like(like, dtype=torch.float32)
        for start in range(0, len(self.tiles), batch_size):
            group = slice(start, start + batch_size)
            predictions = predict(self.tiles[group])
            for tile, weights, prediction in zip(self.tiles[group], self.weights[group], predictions, strict=True):
                tile.of(blended).add_(prediction.float() * weights)
            progress(start + len(predictions))
        return blended / self.total


LATENT_FACTOR = 8
"""Pixels of the picture along one side of a latent pixel."""
