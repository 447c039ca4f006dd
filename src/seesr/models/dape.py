"""DAPE: the tagger made aware of degradation by LoRA (SeeSR, section 3.2; LoRA: arXiv 2106.09685).

Low-rank factors stand beside query and value of every Swin attention and beside query and key of the tag head's
cross-attention. The adapted layer is still an `nn.Linear` with its weight under the same name, so a tagger with DAPE
loads RAM's weights as they are, and switching the factors off gives RAM back.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

TARGETS = re.compile(r"visual_encoder\..*\.attention\.[qv]_proj|head\.\d+\.attention\.(query|key)")
"""Names of the layers DAPE adapts."""


class LoraLinear(nn.Linear):
    """`nn.Linear` plus `scale * lora_B @ lora_A`.

    `lora_A` is (rank, in), random at the start; `lora_B` is (out, rank), zero at the start: the layer begins unchanged.
    `enabled`: whether the factors take part. `merged`: whether they have been added to `weight`.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)
        self.scale = scale
        self.enabled = True
        self.merged = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        if self.enabled and not self.merged:
            y = y + self.scale * F.linear(F.linear(x, self.lora_A), self.lora_B)
        return y


def add_lora(tagger: nn.Module, rank: int, head_rank: int, scale: float) -> None:
    """Put LoRA factors on every target layer of a tagger that has none; its output does not change.

    Args:
        rank, head_rank: rank of the factors in the encoder and in the tag head.
        scale: factor of the low-rank product, alpha / rank in the LoRA paper.
    """
    for name, module in list(tagger.named_modules()):
        if TARGETS.fullmatch(name) and isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(
                tagger.get_submodule(parent),
                child,
                LoraLinear(module, head_rank if name.startswith("head.") else rank, scale),
            )


def lora_layers(tagger: nn.Module) -> dict[str, LoraLinear]:
    """Name → adapted layer; empty for plain RAM."""
    return {name: module for name, module in tagger.named_modules() if isinstance(module, LoraLinear)}


def lora_state_dict(tagger: nn.Module) -> dict[str, torch.Tensor]:
    """DAPE alone: the LoRA factors by name, without the tagger under them."""
    return {name: tensor for name, tensor in tagger.state_dict().items() if name.endswith(("lora_A", "lora_B"))}


@torch.no_grad()
def merge(tagger: nn.Module) -> None:
    """Add the factors to the weights: the same output in one product a layer. `unmerge` takes them out again."""
    for layer in lora_layers(tagger).values():
        if not layer.merged:
            layer.weight += layer.scale * (layer.lora_B @ layer.lora_A)
            layer.merged = True


@torch.no_grad()
def unmerge(tagger: nn.Module) -> None:
    """Undo `merge` (up to rounding)."""
    for layer in lora_layers(tagger).values():
        if layer.merged:
            layer.weight -= layer.scale * (layer.lora_B @ layer.lora_A)
            layer.merged = False


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
