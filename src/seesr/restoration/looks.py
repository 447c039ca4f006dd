"""What DAPE sees in a photo, or in the part of it under a tile."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from seesr.models.tagging import Tag
from seesr.restoration.grounding import Grounding


@dataclass(frozen=True)
class Look:
    """What DAPE sees in a photo or a part of it, the prompt made of that, and the embedding, (1, n, d), for RCA.

    seen: the embedding as the tagger gives it. grounding: where the tags of the prompt are seen, if that is asked for.
    """

    tags: list[Tag]
    prompt: str
    image_embeds: Any
    seen: torch.Tensor | None = None
    grounding: Grounding | None = None


def photo_box(
    box: tuple[int, int, int, int], enlarged: tuple[int, int], photo: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of a photo that lies under `box` (left, top, right, bottom) of the enlarged one; sizes: (w, h)."""
    across, down = photo[0] / enlarged[0], photo[1] / enlarged[1]
    left, top, right, bottom = box
    return int(left * across), int(top * down), math.ceil(right * across), math.ceil(bottom * down)
