"""ComfyUI's progress bar, preview and interrupt, driven by what a restoration tells of itself."""

from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from seesr.restoration.outputs import Progress
from seesr.restoration.restorer import Restorer

POINTS = 100
"""Of the bar, for each picture of a batch."""

_FAST = {"enlarge": (0, POINTS)}
_SPANS = {"enlarge": (0, 15), "encode": (15, 20), "denoise": (20, 90), "decode": (90, POINTS)}
_PREVIEW_SIDE = 512
_BLOCK, _GRID = 8, 6  # latents a side of one colour, and how many colours a side


def stop_if_interrupted() -> None:
    """Raise ComfyUI's own exception if the user has asked to stop."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class Bar:
    """The bar of one node's run over a batch.

    Args:
        pictures: how many there are.
        steps: denoising steps; with 0 the enlarger has the whole bar.
    """

    def __init__(self, pictures: int, steps: int, restorer: Restorer) -> None:
        self.total = POINTS * pictures
        self.bar = comfy.utils.ProgressBar(self.total)
        self.spans = _SPANS if steps else _FAST
        self.restorer = restorer
        self.colours: Tensor | None = None

    def callback(self, number: int) -> Callable[[Progress], None]:
        """For the restoration of picture `number`: moves the bar, shows each step, and stops where that is asked."""

        def on_progress(progress: Progress) -> None:
            stop_if_interrupted()
            if progress.stage not in self.spans:
                return
            first, last = self.spans[progress.stage]
            value = POINTS * number + first + (last - first) * progress.done / max(1, progress.total)
            preview = None if progress.latents is None else self._preview(progress.latents)
            self.bar.update_absolute(round(value), self.total, preview)

        return on_progress

    def _preview(self, latents: Tensor) -> Any:
        """(format, picture, longest side), as ComfyUI's bar takes it."""
        if self.colours is None:
            self.colours = latent_colours(self.restorer.vae, latents)
        return "JPEG", preview(latents, self.colours), _PREVIEW_SIDE


@torch.inference_mode()
def latent_colours(vae: Any, like: Tensor) -> Tensor:
    """The linear map from a latent to the colour that the VAE makes of it: (c + 1, 3), the last row the offset.

    Found by least squares on one decoded picture of random evenly coloured blocks, so that it fits any VAE.

    Args:
        like: latents of the wanted device, (1, c, h, w), scaled to unit variance.
    """
    from seesr.tiling import vae as vae_tiling  # imports diffusers

    channels = like.shape[1]
    codes = torch.randn(_GRID**2, channels, generator=torch.Generator().manual_seed(0))
    blocks = codes.T.reshape(1, channels, _GRID, _GRID).repeat_interleave(_BLOCK, 2).repeat_interleave(_BLOCK, 3)
    [(_, picture)] = vae_tiling.decode(vae, blocks.to(like.device), 0, 0, lambda done, total: None)
    side = picture.shape[-1] // _GRID
    middle = picture.float().cpu().unfold(2, side, side).unfold(3, side, side)[..., side // 4 : -side // 4, :]
    colours = middle[..., side // 4 : -side // 4].mean((-1, -2))[0].flatten(1).T / 2 + 0.5  # (blocks, 3)
    solution: Tensor = torch.linalg.lstsq(torch.cat([codes, torch.ones(len(codes), 1)], 1), colours).solution
    return solution


def preview(latents: Tensor, colours: Tensor) -> Image.Image:
    """A picture of latents (1, c, h, w), one pixel for each, enlarged 8 times as far as the preview's side allows."""
    latents = latents[0].float().cpu()
    values = torch.einsum("chw,cr->hwr", latents, colours[:-1]) + colours[-1]
    small = Image.fromarray((values.clamp(0, 1) * 255).byte().numpy())
    times = min(8.0, _PREVIEW_SIDE / max(small.size))
    size = max(1, round(small.width * times)), max(1, round(small.height * times))
    return small.resize(size, Image.Resampling.BILINEAR)
