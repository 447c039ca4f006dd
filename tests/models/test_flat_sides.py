"""The border of a photo is not to be seen where it is flat, and is the network's own where it has detail."""

from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F

from seesr.models.enlarger import Enlarger
from seesr.models.enlargers import load_enlarger
from seesr.models.flat_sides import REACH, Margins, cut, flat_margins
from seesr.models.tiled_enlarger import TiledEnlarger


@pytest.fixture(scope="module")
def embedded() -> TiledEnlarger:
    return load_enlarger(str(files("seesr") / "assets" / "mini" / "enlarger"))


@pytest.mark.parametrize("color", [(0, 255, 0), (255, 0, 255), (30, 200, 60)])
def test_pure_colours_are_even_to_the_border(embedded: TiledEnlarger, color: tuple[int, ...]) -> None:
    flat = torch.tensor(color)[None, :, None, None].expand(1, 3, 24, 20) / 255
    for tile in (256, 48):
        enlarged = embedded.enlarge(flat, tile)
        assert (enlarged - F.interpolate(flat, scale_factor=4)).abs().max() * 255 < 12  # 78, 106 and 51 without


def test_only_flat_sides_are_continued() -> None:
    photo = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert flat_margins(photo) == Margins(0, 0, 0, 0)
    photo[..., :14, :] = 0.4
    assert flat_margins(photo) == Margins(0, 0, REACH, 0)
    photo[:] = torch.linspace(0, 1, 40)  # a slope of 6 levels a pixel is not flat
    assert flat_margins(photo) == Margins(0, 0, 0, 0)
    assert flat_margins(photo[..., :5, :5]) == Margins(0, 0, 0, 0)


def test_pieces_are_mirrored_beyond_the_photo() -> None:
    row = torch.arange(5.0)[None, None, None].expand(1, 3, 5, 5)
    assert cut(row, 0, -2, 5, 9)[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 3, 4, 3, 2]
    assert cut(row, 1, 1, 2, 2)[0, 0, 0].tolist() == [1, 2]
    assert cut(row[..., :1], -1, -2, 3, 5)[0, 0, 0].tolist() == [0] * 5  # a mirror needs more than that


def test_a_continued_photo_in_tiles_is_the_photo_in_one_piece() -> None:
    torch.manual_seed(0)
    network = Enlarger(num_blocks=1).eval()
    photo = torch.rand(1, 3, 50, 70)
    photo[..., :13, :] = 0.5
    photo[..., -13:] = 0.25
    seen = []
    whole, tiled = (
        network.enlarge(photo),
        network.enlarge(photo, 48, 24, lambda done, total: seen.append((done, total))),
    )
    assert whole.shape == tiled.shape == (1, 3, 200, 280)
    assert seen == [(done, len(seen)) for done in range(1, 1 + len(seen))]  # two a tile: its block, and its end
    assert len(seen) > 2
    torch.testing.assert_close(tiled[..., 16:-16, 16:-16], whole[..., 16:-16, 16:-16], atol=0.02, rtol=0)
