"""Low-rank adaptation of linear layers (LoRA, Hu et al. 2021, arXiv 2106.09685).

The weight keeps its name, so an adapted network loads the plain one's weights as they are, and switching the factors
off gives the plain one back. 1x1 convolutions are linear layers on the channels.
"""

import re

import torch
from torch import nn
from torch.nn import functional as F


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


def adapt(network: nn.Module, targets: re.Pattern[str], rank: int, scale: float) -> None:
    """Put LoRA factors on the linear layers and 1x1 convolutions whose full name matches; the output does not change.

    Args:
        scale: factor of the low-rank product, alpha / rank in the LoRA paper.
    """
    for name, module in list(network.named_modules()):
        if not targets.fullmatch(name) or isinstance(module, LoraLayer):
            continue
        if isinstance(module, nn.Linear):
            _replace(network, name, LoraLinear(module, rank, scale))
        elif isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
            _replace(network, name, LoraConv1x1(module, rank, scale))


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)


def lora_layers(network: nn.Module) -> dict[str, LoraLayer]:
    """Name → adapted layer; empty for a plain network."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LoraLayer)}


@torch.no_grad()
def merge(network: nn.Module) -> None:
    """Add the factors to the weights: the same output in one product a layer. `unmerge` takes them out again."""
    for layer in lora_layers(network).values():
        if not layer.merged:
            layer.weight += layer.product()
            layer.merged = True


@torch.no_grad()
def unmerge(network: nn.Module) -> None:
    """Undo `merge` (up to rounding)."""
    for layer in lora_layers(network).values():
        if layer.merged:
            layer.weight -= layer.product()
            layer.merged = False


def folded_state_dict(network: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of the plain network with the adapted one's output: the factors added to the weights, and left out."""
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(("lora_A", "lora_B"))}
    for name, layer in lora_layers(network).items():
        if layer.active:
            state[f"{name}.weight"] = layer.weight.detach() + layer.product().detach()
    return state
