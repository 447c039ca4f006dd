"""What ControlNet and RCA are told from the second step on: the photo mixed with what has been predicted of it.

With few steps the condition counts as much as the sampling, and after the first of them there is a better one than the
degraded photo. AddSR (arXiv 2404.01717) decodes each step's prediction, mixes it half and half with the photo and
shows that to the ControlNet and, for the representation embedding, to DAPE; the words stay those of the photo.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seesr.errors import SeesrError
from seesr.photos.pictures import Picture
from seesr.restoration.interfaces import Scheduler

if TYPE_CHECKING:
    from seesr.restoration.tile_predictor import Context


@dataclass(frozen=True)
class Refinement:
    """How the next step's condition comes of a prediction.

    decode: clean latents, (1, c, h, w), to the picture that is shown, mixed with the photo.
    encode: such a picture to latents, for ControlNets that take those.
    look: that picture to one representation embedding a context, (1, n, d); None where it is to stay as it is.
    """

    decode: Callable[[Tensor], Picture]
    encode: Callable[[Picture], Tensor]
    look: Callable[[Picture], Sequence[Tensor | None]]

    def contexts(self, before: Sequence["Context"], shown: Picture) -> list["Context"]:
        """`before` with the embeddings of `shown`."""
        seen = self.look(shown)
        return [each if image is None else replace(each, image=image) for each, image in zip(before, seen, strict=True)]


def clean_latents(scheduler: Scheduler, noisy: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
    """The clean latents that a prediction at training step `t` means.

    Args:
        noisy: what the model saw, sqrt(alpha_bar) * clean + sqrt(1 - alpha_bar) * noise; (1, c, h, w).
        prediction: of its kind `scheduler.config.prediction_type`: noise (epsilon), v (arXiv 2202.00512) or the clean
            latents themselves (sample).

    Raises:
        SeesrError: a prediction of another kind.
    """
    step = int(t.round().clamp(0, len(scheduler.alphas_cumprod) - 1))
    alpha_bar = scheduler.alphas_cumprod[step].to(noisy.device, torch.float32)
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return (noisy - noise * prediction) / signal
    if kind == "v_prediction":
        return signal * noisy - noise * prediction
    if kind == "sample":
        return prediction
    raise SeesrError(f"`refine` does not know what a scheduler's prediction of kind {kind} means; leave it at 0")
