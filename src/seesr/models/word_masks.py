"""Masks on the text cross-attention: where in the latents each token of a prompt acts (SRSR, arXiv 2510.22534)."""

import torch
from torch import Tensor
from torch.nn import functional as F


class WordMasks:
    """For UNet and ControlNet, as `cross_attention_kwargs={"word_masks": ...}` (`seesr.models.semantic_attention`).

    Args:
        masks: (B, tokens, h, w) in [0, 1] at the latents' resolution: 1 where a token acts fully, 0 where not at all.
            At every place some token must act: the first of a prompt, which begins the text, acts everywhere.
    """

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks
        self._known: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def bias(self, height: int, width: int, dtype: torch.dtype) -> Tensor:
        """(B, height * width, tokens): the masks' logarithm, to be added to the attention's scores.

        A weight of the softmax is multiplied by the mask; where the mask is 0 it is 0 exactly. A place of a coarser
        level has the mean of the mask under it.
        """
        key = height, width, dtype
        if key not in self._known:
            pooled = F.adaptive_avg_pool2d(self.masks, (height, width))
            self._known[key] = pooled.flatten(2).transpose(1, 2).log().to(dtype)
        return self._known[key]
