"""What a restoration returns, and what it tells on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from seesr.models.tagging import Tag


@dataclass(frozen=True)
class Progress:
    """What a restoration is doing: `done` of `total` units of `stage`.

    stage: "tags", "enlarge", "encode", "denoise" (unit: one tile at one step) or "decode".
    latents: the latents after a whole step of "denoise", else None.
    """

    stage: str
    done: int
    total: int
    latents: torch.Tensor | None = None


@dataclass
class SeeSROutput:
    """Results of a call, one entry a photo.

    images: PIL pictures, uint8 arrays (H, W, 3) or float tensors (3, H, W) in [0, 1], by `output_type`.
    tags: the tags DAPE saw, with probabilities. prompts, negative_prompts: the texts the model was given.
    timings: seconds by stage. notes: what a limit of memory has changed, and which regions overlap, "" if nothing.
    tag_maps: (tags, h, w) in [0, 1], where in the photo each of its `tags` is seen; empty unless asked for.
    """

    images: list[Any] = field(default_factory=list)
    tags: list[list[Tag]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    negative_prompts: list[str] = field(default_factory=list)
    timings: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tag_maps: list[torch.Tensor] = field(default_factory=list)

    def to_tuple(self) -> tuple[Any, ...]:
        """The same in the order of the fields, the images first."""
        return self.images, self.tags, self.prompts, self.negative_prompts, self.timings, self.notes, self.tag_maps


Callback = Callable[[Progress], None]
"""Told of every step forward; must not change the latents it is shown."""
