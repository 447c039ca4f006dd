"""What is done piece by piece gives what is done as a whole: rows resized as they come, colours fixed in strips."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seesr.models.enlarger import Enlarger
from seesr.photos.pictures import Picture16
from seesr.restoration.color_fix import fix_colors
from seesr.restoration.enlarging import _Rows, enlarge_learned
from seesr.restoration.sizes import output_size


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def difference(a: Image.Image, b: Image.Image) -> np.ndarray:
    assert a.size == b.size
    return np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int))


@pytest.mark.parametrize("size", [(41, 90), (60, 131), (13, 40), (97, 200), (60, 17), (200, 1)])
@pytest.mark.parametrize("height", [1, 7, 64])
@pytest.mark.parametrize("sixteen_bit", [False, True])
def test_rows_are_resized_as_they_come(size: tuple[int, int], height: int, sixteen_bit: bool) -> None:
    whole = noise(60, 131)
    rows, source = _Rows(whole.size, size, sixteen_bit), Picture16.of(whole) if sixteen_bit else whole
    for top in range(0, whole.height, height):
        rows.append(source.crop((0, top, whole.width, min(top + height, whole.height))))
    across = source.resize((size[0], whole.height), Image.Resampling.BICUBIC)
    wanted = across.resize(size, Image.Resampling.BICUBIC)
    if sixteen_bit:
        assert np.abs(rows.result.values.astype(int) - wanted.values).max() <= 1
        return
    apart = difference(rows.result, wanted)
    assert apart.max() <= 1
    assert apart.mean() < 0.01


@pytest.mark.parametrize("method", ["adain", "wavelet", "none"])
@pytest.mark.parametrize("rows", [3, 40, 90])
def test_colors_are_fixed_in_strips(method: str, rows: int) -> None:
    restored, enlarged = noise(50, 170), noise(50, 170, 1).point(lambda value: value // 2 + 60)
    whole = fix_colors(restored.copy(), enlarged, method, 1 << 20)
    strips = fix_colors(restored.copy(), enlarged, method, (rows + 62) * 50)
    assert difference(strips, whole).max() <= 1
    assert (difference(strips, whole) > 0).mean() < 1e-3  # cut to 8 bits from the other side of a level
    assert (method == "none") == (difference(whole, restored).max() == 0)


@pytest.mark.parametrize(("scale", "on_grid"), [(4, False), (2.5, False), (3, True)])
def test_an_enlarged_photo_does_not_depend_on_its_tiles(scale: float, on_grid: bool) -> None:
    torch.manual_seed(0)
    enlarger = Enlarger(num_blocks=0, channels=4, growth=2).eval()
    for parameter in enlarger.parameters():
        nn.init.normal_(parameter, std=0.2)
    photo = noise(70, 150)
    whole, tiles = (enlarge_learned(enlarger, photo, scale, 8, on_grid, tile, lambda *_: None) for tile in (160, 64))
    width, height = output_size(*photo.size, scale)
    assert tiles.size == ((width // 8 * 8, height // 8 * 8) if on_grid else (width, height))
    apart = difference(tiles, whole)
    assert apart.max() <= 2  # three roundings to 8 bits
    assert apart.mean() < 0.01
