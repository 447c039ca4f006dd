"""Grounded tags: each tag's words act only where the tag is seen, and guidance only where some tag is seen.

The idea is SRSR's (arXiv 2510.22534), which takes its masks from Grounded-SAM; here they are the tagger's own maps
(`seesr.models.tagging.PhotoTagger.tag_maps`), so no further network is needed. Three things together:

- The text tower reads each tag by itself, and the rest of the prompt without the tags (`reading_mask`): what a token
  says depends on no tag but its own. The padding, which sums up what stands before it and weighs much with models like
  Stable Diffusion, is dealt out in turn: so much to the rest of the prompt, so much to each tag.
- In every text cross-attention of UNet and ControlNet a tag's tokens are masked out where the tag is not seen
  (`Grounding.masks`). The rest of the prompt acts everywhere: user's and added words, begin and end of the text.
- The guidance scale is 1 where no tag is seen (`Grounding.seen`).

So at a place outside its mask a tag changes nothing that a text cross-attention adds there. Convolutions and
self-attention still carry on to other places what it has changed inside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from seesr.restoration.prompts import Tokenizer
from seesr.tiling.geometry import Tile

_UNSEEN, _SEEN = 0.15, 0.35  # of a tag's map: at most so much is no sight of it, at least so much is
EVERYWHERE = -1
"""In place of a tag's number: a token that acts everywhere."""


@dataclass(frozen=True)
class Grounding:
    """Where the tokens of one prompt act.

    token_tags: (77,), on the CPU: the number of the tag that a token belongs to, or `EVERYWHERE`.
    end: the place of the token that ends the text; what follows is padding.
    maps: (tags, h, w), float32 in [0, 1], on the CPU: the tags' maps of a part of the picture; that of a tag whose
        place is not known is 1 everywhere.
    """

    token_tags: Tensor
    end: int
    maps: Tensor

    def masks(self, tile: Tile, part: Tile) -> Tensor:
        """(77, height, width) of `tile`, in [0, 1]: where each token acts; `part`: what the maps show, in latents."""
        masks = torch.cat([self._clear(tile, part), torch.ones(1, tile.height, tile.width)])  # the last: everywhere
        return masks[self.token_tags]

    def seen(self, tile: Tile, part: Tile) -> Tensor:
        """(height, width) of `tile`, in [0, 1]: where some tag is seen."""
        if not len(self.maps):
            return torch.zeros(tile.height, tile.width)
        return self._clear(tile, part).amax(0)

    def _clear(self, tile: Tile, part: Tile) -> Tensor:
        """(tags, height, width): 0 where a tag is not seen, 1 where it is, and a ramp between."""
        return ((sample_maps(self.maps, tile, part) - _UNSEEN) / (_SEEN - _UNSEEN)).clamp(0, 1)


def ground(
    prompt: str,
    tags: Sequence[str],
    vocabulary: Sequence[str],
    find_maps: Callable[[list[str]], Tensor],
    tokenizer: Tokenizer,
) -> Grounding:
    """Where the words of a prompt act.

    Args:
        prompt: of `build_prompt`, made with `tags`.
        vocabulary: the tags that the tagger knows; one that it does not know acts everywhere.
        find_maps: names of the vocabulary → (names, h, w), their maps.
    """
    token_tags, end = read_prompt(prompt, tag_spans(prompt, tags), tokenizer)
    known = {name.lower(): name for name in vocabulary}
    names = [known.get(tag.lower()) for tag in tags[: int(token_tags.max()) + 1]]  # those that CLIP has room for
    found = find_maps([name for name in names if name])
    maps = torch.ones(len(names), *found.shape[1:])
    maps[[row for row, name in enumerate(names) if name]] = found
    return Grounding(token_tags, end, maps)


def sample_maps(maps: Tensor, tile: Tile, part: Tile) -> Tensor:
    """Maps of `part`, (n, h, w), at the pixels of `tile`, (n, tile.height, tile.width); bilinear between cells."""
    if not len(maps):
        return maps.new_zeros(0, tile.height, tile.width)
    down = (torch.arange(tile.height) + 0.5 + tile.top - part.top) / part.height * 2 - 1
    across = (torch.arange(tile.width) + 0.5 + tile.left - part.left) / part.width * 2 - 1
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None].to(maps.dtype)
    return F.grid_sample(maps[None], grid, padding_mode="border", align_corners=False)[0]


def tag_spans(text: str, tags: Sequence[str]) -> list[tuple[int, int]]:
    """(start, end) of each tag in a text of `build_prompt`, which begins with them; fewer where it has dropped some."""
    spans, start = [], 0
    for tag in tags:
        end = start + len(tag)
        if not text.startswith(tag, start) or text[end : end + 1] not in ("", ","):
            break
        spans.append((start, end))
        start = end + len(", ")
    return spans


def read_prompt(text: str, spans: Sequence[tuple[int, int]], tokenizer: Tokenizer) -> tuple[Tensor, int]:
    """Which tag each token of a prompt belongs to, (77,), as in `Grounding`, and the place of the token that ends it.

    spans: of the tags, (start, end) in `text`.
    """
    length = tokenizer.model_max_length
    offsets = tokenizer(text, max_length=length, truncation=True, return_offsets_mapping=True)["offset_mapping"]
    token_tags = torch.full((length,), EVERYWHERE)
    for token, (first, last) in enumerate(offsets):
        for number, (start, end) in enumerate(spans):
            if max(first, start) < min(last, end):
                token_tags[token] = number
    padding = torch.arange(length - len(offsets))
    token_tags[len(offsets) :] = padding % (int(token_tags.max()) + 2) + EVERYWHERE
    return token_tags, len(offsets) - 1


def reading_mask(token_tags: Tensor, end: int) -> Tensor:
    """(1, 1, 77, 77), float32, for the text tower: 0 where a token reads another, minus infinity where not.

    A token reads what stands before it of its own tag, or of the rest of the prompt, and begin and end of the text.

    end: the place of the token that ends the text.
    """
    read = token_tags[:, None] == token_tags[None]
    read[:, [0, end]] = True
    return torch.zeros(read.shape).masked_fill(~read.tril(), -torch.inf)[None, None]
