"""What every tagger has in common: how a photo goes in, and how tags come out."""

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
    `resize_antialias` and `image_embed_dim`."""

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
