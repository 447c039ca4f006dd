"""What every tagger has in common: how a photo goes in, and how tags and their maps come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TaggerOutput:
    """What the tagger sees in a batch of photos."""

    image_embeds: torch.Tensor
    """(B, 1 + tokens, image_embed_dim): the representation embedding, the mean token first."""
    logits: torch.Tensor
    """(B, tags): one logit a tag; `sigmoid` gives its probability."""


@dataclass(frozen=True)
class Tag:
    """A tag that is on, with its probability in [0, 1]."""

    name: str
    probability: float


class PhotoTagger(nn.Module):
    """A network whose `forward` gives a `TaggerOutput`; its config has `tags`, `thresholds`, `image_size`,
    `resize_antialias` and `image_embed_dim`. `evidence` tells where in the photo a tag was seen."""

    config: Any
    pixel_mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    """Of the training pictures, RGB in [0, 1]; by default ImageNet's."""
    pixel_std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)

    def preprocess(self, image: torch.Tensor) -> torch.Tensor:
        """Photo → the encoder's input.

        Args:
            image: (B, 3, h, w), RGB in [0, 1], any size.

        Returns:
            (B, 3, image_size, image_size), normalised with `pixel_mean` and `pixel_std`.
        """
        size = (self.config.image_size, self.config.image_size)
        image = F.interpolate(image, size, mode="bilinear", antialias=self.config.resize_antialias)
        mean = image.new_tensor(self.pixel_mean).view(1, 3, 1, 1)
        std = image.new_tensor(self.pixel_std).view(1, 3, 1, 1)
        return (image - mean) / std

    def tags_on(self, logits: torch.Tensor) -> list[Tag]:
        """The tags of one photo whose probability is strictly above their threshold, in the order of the tag list.

        Args:
            logits: (tags,).
        """
        probabilities = logits.float().sigmoid().tolist()
        rows: Any = zip(self.config.tags, probabilities, self.config.thresholds)
        return [Tag(name, p) for name, p, threshold in rows if p > threshold]

    def evidence(self, image_embeds: torch.Tensor, tags: Sequence[int]) -> torch.Tensor:
        """What each place of one photo says for a tag, to first order: its share of the tag's logit.

        Args:
            image_embeds: (1, 1 + h * w, image_embed_dim), of `forward`.
            tags: indices in the tag list.

        Returns:
            (len(tags), h, w), float32, row by row as the photo stretched to a square; negative: it speaks against it.
        """
        raise NotImplementedError

    @torch.no_grad()
    def tag_maps(self, image_embeds: torch.Tensor, tags: Sequence[str]) -> torch.Tensor:
        """Where in one photo tags are seen.

        Args:
            image_embeds: (1, 1 + h * w, image_embed_dim), of `forward`.
            tags: names in the tag list, on or not.

        Returns:
            (len(tags), h, w), float32 in [0, 1]: 1 where most of the evidence for a tag lies, 0 where there is none.

        Raises:
            ValueError: no tag of that name.
        """
        rows = [self.config.tags.index(name) for name in tags]
        evidence = self.evidence(image_embeds, rows).clamp(min=0)  # (tags, h, w)
        return evidence / evidence.amax((1, 2), keepdim=True).clamp(min=torch.finfo(evidence.dtype).tiny)
