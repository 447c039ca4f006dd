"""Networks of one fixed enlargement on pictures of any size: tiles with a margin of context, and a final resize."""

from collections.abc import Callable

import torch
from PIL import Image

from seesr.photos.pictures import to_pil, to_tensor

TILE = 256
"""Pixels a side, of the low-resolution picture, where a network can be cut."""

MARGIN = 32
"""Pixels of context around a tile that are thrown away, so that tiles meet without seams."""


def enlarge_with_network(
    network: Callable[[torch.Tensor], torch.Tensor], image: Image.Image, scale: int, tile: int
) -> Image.Image:
    """`image` enlarged `scale` times by a network: (1, 3, h, w) in [0, 1] → (1, 3, k*h, k*w), k its own enlargement.

    A picture with a side above `tile` pixels is worked on in tiles of at most that size, margins included.
    Where k is not `scale` the result is brought to size by Lanczos, as Real-ESRGAN's own program does.
    """
    result = to_pil(_in_tiles(network, to_tensor(image), tile))
    size = (image.width * scale, image.height * scale)
    return result if result.size == size else result.resize(size, Image.Resampling.LANCZOS)


def _in_tiles(network: Callable[[torch.Tensor], torch.Tensor], picture: torch.Tensor, tile: int) -> torch.Tensor:
    height, width = picture.shape[-2:]
    if max(height, width) <= tile:
        return network(picture)
    core = tile - 2 * MARGIN
    result: torch.Tensor | None = None
    for top in range(0, height, core):
        for left in range(0, width, core):
            above, before = min(top, MARGIN), min(left, MARGIN)  # the context there is on these two sides
            part = picture[..., top - above : top + core + MARGIN, left - before : left + core + MARGIN]
            done = network(part)
            k = done.shape[-1] // part.shape[-1]
            if result is None:
                result = picture.new_empty(*picture.shape[:-2], k * height, k * width)
            target = result[..., k * top : k * (top + core), k * left : k * (left + core)]
            target.copy_(done[..., k * above :, k * before :][..., : target.shape[-2], : target.shape[-1]])
    assert result is not None
    return result
