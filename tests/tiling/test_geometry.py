"""Tiles: they cover everything, have one shape, and blending them changes nothing that they agree on."""

import math
from itertools import product

import pytest
import torch

from seesr.tiling.geometry import BLENDS, Blend, Tile, cheapest_tile, even_starts, gaussian_weights, plan_tiles


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (40, 23), (9, 100), (64, 64)])
@pytest.mark.parametrize("overlap", [0, 4, 7])
@pytest.mark.parametrize("kind", BLENDS)
def test_tiles_cover_and_agree(height: int, width: int, overlap: int, kind: str) -> None:
    tiles = plan_tiles(height, width, 16, overlap, kind)
    covered = torch.zeros(height, width)
    for tile in tiles:
        assert (tile.height, tile.width) == (tiles[0].height, tiles[0].width)
        assert tile.of(covered).shape == (tile.height, tile.width)
        tile.of(covered).add_(1)
    assert covered.min() >= 1
    whole = torch.randn(2, 3, height, width)
    seen: list[int] = []
    blend = Blend(tiles, height, width, kind)
    blended = blend(whole, lambda group: torch.stack([t.of(whole) for t in group]), 3, seen.append)
    assert torch.allclose(blended, whole, atol=1e-5)
    assert seen[-1] == len(tiles)


def test_a_picture_of_tile_area_is_not_cut() -> None:
    assert plan_tiles(8, 32, 16, 4) == [Tile(0, 0, 8, 32)]


def test_positions_are_the_published_ones() -> None:
    """16 wide, 4 shared: a stride of 12, and the last flush with the border."""
    assert sorted({tile.left for tile in plan_tiles(16, 41, 16, 4)}) == [0, 12, 24, 25]


def test_weights_have_the_published_asymmetry() -> None:
    weights = gaussian_weights(Tile(0, 0, 16, 16))
    assert torch.allclose(weights, weights.flip(1))  # centred across on 7.5
    down = weights[:, 8]
    assert torch.allclose(down[8 - 5], down[8 + 5])  # centred down on 8
    x = torch.arange(16.0)
    wanted = torch.outer(torch.exp(-((x - 8) ** 2) / (0.02 * 256)), torch.exp(-((x - 7.5) ** 2) / (0.02 * 256)))
    assert torch.allclose(weights / weights.max(), wanted / wanted.max(), atol=1e-6)


def test_overlap_must_leave_room() -> None:
    with pytest.raises(ValueError, match="overlap"):
        plan_tiles(40, 40, 16, 16)
    with pytest.raises(ValueError, match="overlap"):
        cheapest_tile(40, 40, 16 * 16, 16)
    assert cheapest_tile(40, 5, 16 * 16, 16) == (40, 5)  # no cut, so no neighbour


def test_the_shape_of_tiles_is_the_cheapest() -> None:
    def work(height: int, width: int, rows: int, columns: int, overlap: int) -> int:
        return rows * columns * len(even_starts(height, rows, overlap)) * len(even_starts(width, columns, overlap))

    for height, width, area, overlap in [(40, 33, 256, 5), (90, 7, 100, 3), (20, 20, 400, 8), (11, 64, 120, 6)]:
        best = cheapest_tile(height, width, area, overlap)
        assert math.prod(best) <= area
        others = [
            (rows, columns)
            for rows, columns in product(range(1, height + 1), range(1, width + 1))
            if rows * columns <= area and (rows > overlap or rows == height) and (columns > overlap or columns == width)
        ]
        assert work(height, width, *best, overlap) == min(work(height, width, *each, overlap) for each in others)
    assert cheapest_tile(480, 640, 480**2, 80) == (480, 360)


def test_cosine_tiles_give_way_to_each_other_over_all_of_their_overlap() -> None:
    """Two tiles that disagree: published weights switch within a few latent pixels, the cosine takes all it has."""

    def steps(kind: str) -> torch.Tensor:
        tiles = plan_tiles(32, 52, 32, 12, kind)
        left, right = (tile.left for tile in tiles)
        assert (left, right) == (0, 20)
        blend = Blend(tiles, 32, 52, kind)
        values = blend(
            torch.zeros(1, 1, 32, 52),
            lambda group: torch.stack([torch.full((1, 1, 32, 32), float(tile.left > 0)) for tile in group]),
            1,
        )
        return values[0, 0, 16].diff()

    published, cosine = steps("gaussian"), steps("cosine")
    assert cosine.max() < 1.05 * math.pi / 2 / 12  # the steepest a raised cosine over 12 can be
    assert published.max() > 1.5 * cosine.max()
    assert torch.allclose(cosine, cosine.flip(0), atol=1e-6)


def test_cosine_tiles_are_spread_evenly_and_as_large_as_the_picture_lets_them() -> None:
    tiles = plan_tiles(9, 41, 16, 4, "cosine")
    assert {(tile.height, tile.width) for tile in tiles} == {(9, 16)}
    assert [tile.left for tile in tiles] == [0, 8, 17, 25]
