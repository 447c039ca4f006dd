"""DAPE: the tagger made aware of degradation by LoRA (SeeSR, section 3.2; LoRA: arXiv 2106.09685).

Low-rank factors stand beside query and value of every Swin attention and beside query and key of the tag head's
cross-attention; in a convolutional tagger beside every 1x1 convolution, which is a linear layer on the channels. The
weight keeps its name, so a tagger with DAPE loads RAM's weights as they are, and switching the factors off gives RAM
back.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

TARGETS = re.compile(
    r"visual_encoder\..*\.attention\.[qv]_proj|head\.\d+\.attention\.(query|key)"  # Tagger
    r"|blocks\.\d+\.(expand|reduce)|head"  # ConvTagger
)
"""Names of the layers DAPE adapts. Those under `head` make only the tags, not the representation embedding."""


class LoraLayer(nn.Module):
    """A linear layer plus `scale * lora_B @ lora_A`.

    `lora_A` is (rank, in), random at the start; `lora_B` is (out, rank), zero at the start: the layer begins unchanged.
    `enabled`: whether the factors take part. `merged`: whether they have been added to `weight`.
    """

    weight: torch.Tensor

    def add_factors(self, rank: int, scale: float) -> None:
        out_features, in_features = self.weight.shape[:2]
        self.lora_A = nn.Parameter(torch.empty(rank, in_features))
        self.lora_B = nn.Parameter(torch.zeros(out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)
        self.scale = scale
        self.enabled = True
        self.merged = False

    @property
    def active(self) -> bool:
        return self.enabled and not self.merged

    def product(self) -> torch.Tensor:
        """What the factors add, in the shape of `weight`."""
        return (self.scale * (self.lora_B @ self.lora_A)).view_as(self.weight)


class LoraLinear(LoraLayer, nn.Linear):
    """`nn.Linear` with LoRA; takes over the layer's weight and bias."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(linear.__dict__)
        self.add_factors(rank, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.Linear.forward(self, x)
        return y + self.scale * F.linear(F.linear(x, self.lora_A), self.lora_B) if self.active else y


class LoraConv1x1(LoraLayer, nn.Conv2d):
    """1x1 `nn.Conv2d` with LoRA; takes over the layer's weight and bias."""

    def __init__(self, conv: nn.Conv2d, rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(conv.__dict__)
        self.add_factors(rank, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.Conv2d.forward(self, x)
        if not self.active:
            return y
        return y + self.scale * F.conv2d(F.conv2d(x, self.lora_A[..., None, None]), self.lora_B[..., None, None])


def add_lora(tagger: nn.Module, rank: int, head_rank: int, scale: float) -> None:
    """Put LoRA factors on every target layer of a tagger that has none; its output does not change.

    Args:
        rank, head_rank: rank of the factors in the encoder and in the tag head.
        scale: factor of the low-rank product, alpha / rank in the LoRA paper.
    """
    for name, module in list(tagger.named_modules()):
        if TARGETS.fullmatch(name) and isinstance(module, (nn.Linear, nn.Conv2d)):
            layer = LoraLinear if isinstance(module, nn.Linear) else LoraConv1x1
            parent, _, child = name.rpartition(".")
            setattr(
                tagger.get_submodule(parent),
                child,
                layer(module, head_rank if name.startswith("head") else rank, scale),  # type: ignore[arg-type]
            )


def lora_layers(tagger: nn.Module) -> dict[str, LoraLayer]:
    """Name → adapted layer; empty for plain RAM."""
    return {name: module for name, module in tagger.named_modules() if isinstance(module, LoraLayer)}


def lora_state_dict(tagger: nn.Module) -> dict[str, torch.Tensor]:
    """DAPE alone: the LoRA factors by name, without the tagger under them."""
    return {name: tensor for name, tensor in tagger.state_dict().items() if name.endswith(("lora_A", "lora_B"))}


@torch.no_grad()
def merge(tagger: nn.Module) -> None:
    """Add the factors to the weights: the same output in one product a layer. `unmerge` takes them out again."""
    for layer in lora_layers(tagger).values():
        if not layer.merged:
            layer.weight += layer.product()
            layer.merged = True


@torch.no_grad()
def unmerge(tagger: nn.Module) -> None:
    """Undo `merge` (up to rounding)."""
    for layer in lora_layers(tagger).values():
        if layer.merged:
            layer.weight -= layer.product()
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
