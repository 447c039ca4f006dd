"""DAPE: the tagger made aware of degradation by LoRA (SeeSR, section 3.2).

Low-rank factors stand beside query and value of every Swin attention and beside query and key of the tag head's
cross-attention; in a convolutional tagger beside every 1x1 convolution. Without them the tagger is RAM.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from seesr.models.lora import adapt, lora_layers

ENCODER = re.compile(
    r"visual_encoder\..*\.attention\.[qv]_proj"  # Tagger
    r"|blocks\.\d+\.(expand|reduce)"  # ConvTagger
)
HEAD = re.compile(
    r"head\.\d+\.attention\.(query|key)"  # Tagger
    r"|head"  # ConvTagger
)
"""Names of the layers DAPE adapts. Those of the head make only the tags, not the representation embedding."""


def add_lora(tagger: nn.Module, rank: int, head_rank: int, scale: float) -> None:
    """Put LoRA factors on every target layer of a tagger that has none; its output does not change.

    Args:
        rank, head_rank: rank of the factors in the encoder and in the tag head.
        scale: factor of the low-rank product, alpha / rank in the LoRA paper.
    """
    adapt(tagger, ENCODER, rank, scale)
    adapt(tagger, HEAD, head_rank, scale)


@contextmanager
def plain_ram(tagger: nn.Module) -> Iterator[None]:
    """Within the block the tagger is RAM: DAPE's factors take no part.

    Raises:
        ValueError: the factors are merged into the weights.
    """
    layers = lora_layers(tagger).values()
    if any(layer.merged for layer in layers):
        raise ValueError("DAPE is merged into the tagger; unmerge it first")
    try:
        for layer in layers:
            layer.enabled = False
        yield
    finally:
        for layer in layers:
            layer.enabled = True
