"""The photo at output size before restoration: what the ControlNet, the LR embedding and the colour fix read.

The paper enlarges bicubically, in 8-bit steps that are kept here to the pixel; a learned enlarger goes before it.
"""

from collections.abc import Callable

import torch
from PIL import Image

from seesr.images import to_pil, to_tensor
from seesr.models.enlarger import SCALE as ENLARGER_SCALE
from seesr.models.enlarger import Enlarger

LATENT_FACTOR = 8
"""Pixels of the picture along one side of a latent pixel."""


def output_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Size of the result for a photo of `width` x `height`: exactly `scale` times, rounded, at least one pixel."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def _bicubic(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def _large_enough(image: Image.Image, scale: float, process_size: int) -> Image.Image:
    """Enlarge a photo whose shorter side would come out below `process_size`."""
    least = int(process_size // scale)
    width, height = image.size
    if min(width, height) >= least:
        return image
    s = least / min(width, height)
    return _bicubic(image, int(s * width), int(s * height))


def _to_latent_grid(image: Image.Image) -> Image.Image:
    width, height = image.size
    side = LATENT_FACTOR
    return _bicubic(image, max(side, width // side * side), max(side, height // side * side))


def enlarge_bicubic(image: Image.Image, scale: float, process_size: int) -> torch.Tensor:
    """The paper's enlarging: (1, 3, H, W) in [0, 1] on 8-bit levels, H and W multiples of 8."""
    image = _large_enough(image, scale, process_size)
    image = _bicubic(image, int(image.width * scale), int(image.height * scale))
    return to_tensor(_to_latent_grid(image))


def enlarge_learned(
    enlarger: Enlarger,
    image: Image.Image,
    scale: float,
    process_size: int,
    on_grid: bool,
    progress: Callable[[int, int], None],
) -> torch.Tensor:
    """The learned enlarging: (1, 3, H, W) in [0, 1]; H and W multiples of 8 with `on_grid`, else `output_size`.

    `progress` is called with the number of tiles done and of all.
    """
    image = _large_enough(image, scale, process_size)
    parameter = next(enlarger.parameters())
    pixels = to_tensor(image).to(parameter.device, parameter.dtype)
    enlarged = enlarger.enlarge(pixels, progress=progress).float().cpu()
    if scale != ENLARGER_SCALE:
        enlarged = to_tensor(_bicubic(to_pil(enlarged), *output_size(image.width, image.height, scale)))
    return to_tensor(_to_latent_grid(to_pil(enlarged))) if on_grid else enlarged
