"""Tiles: they cover everything, have one shape, and blending them changes nothing that they agree on."""

import pytest
import torch

from seesr.tiling import Tile, blend_tiles, gaussian_weights, plan_tiles


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (40, 23), (9, 100), (64, 64)])
@pytest.mark.parametrize("overlap", [0, 4, 7])
def test_tiles_cover_and_agree(height: int, width: int, overlap: int) -> None:
    tiles = plan_tiles(height, width, 16, overlap)
    covered = torch.zeros(height, width)
    for tile in tiles:
        assert (tile.height, tile.width) == (tiles[0].height, tiles[0].width)
        assert tile.of(covered).shape == (tile.height, tile.width)
        tile.of(covered).add_(1)
    assert covered.min() >= 1
    whole = torch.randn(2, 3, height, width)
    seen: list[int] = []
    blended = blend_tiles(tiles, whole, lambda group: torch.stack([t.of(whole) for t in group]), 3, seen.append)
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
