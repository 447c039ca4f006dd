"""Exponential moving average of trained weights: what is validated and saved."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Moving average of the trained parameters of modules, in float32; its decay grows from .1 to the one given.

    shadow: `module/parameter` -> averaged value. parameters: the trained parameters, under the same names.
    """

    def __init__(self, modules: dict[str, nn.Module], decay: float):
        self.decay = decay
        named = {f"{name}/{key}": p for name, m in modules.items() for key, p in m.named_parameters()}
        self.parameters = {name: p for name, p in named.items() if p.requires_grad}
        self.shadow = {name: p.detach().float().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        for name, parameter in self.parameters.items():
            self.shadow[name].lerp_(parameter.float(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The modules hold the averaged weights within this context."""
        trained = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.copy(self.shadow)
        try:
            yield
        finally:
            self.copy(trained)

    @torch.no_grad()
    def copy(self, values: dict[str, Tensor]) -> None:
        """Set the trained parameters to `values`."""
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
