"""A network between two trainings of itself: the calm end and the detailed one, and all weights between (ESRGAN §3.4).

Trained against discriminators for long, an enlarger paints rich detail, also where noise or JPEG blocks are all there
is. Trained for less, it is clean and a little smooth. Weights between the two give pictures between the two, at no cost
(network interpolation, arXiv 1809.00219, section 3.4). The detailed end is the network as it is stored; the calm one is
kept as a difference of 4 bits a number.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seesr.models import int4

FILE_NAME = "calm.safetensors"
"""Beside the weights of a network that has two ends."""


class TwoEnds(nn.Module):
    """The weights of `network` and what must be added to them to reach its calm end; follows it to devices and dtypes.

    detail: where the network is now.

    Args:
        difference: calm minus detailed, for every parameter by its name.

    Raises:
        ValueError: names or shapes that are not the network's.
    """

    def __init__(self, network: nn.Module, difference: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = [name for name, _ in network.named_parameters()]
        if set(self.names) != difference.keys():
            raise ValueError("the calm end belongs to another network")
        for number, (name, weight) in enumerate(network.named_parameters()):
            if difference[name].shape != weight.shape:
                raise ValueError(f"the calm end's {name} is of {tuple(difference[name].shape)}")
            self.register_buffer(f"detailed_{number}", weight.detach(), persistent=False)
            self.register_buffer(f"difference_{number}", difference[name].to(weight.dtype), persistent=False)
        self.detail = 1.0

    @torch.inference_mode(False)  # else the weights could not be trained or saved any more
    @torch.no_grad()
    def move(self, network: nn.Module, detail: float) -> None:
        """Give `network` the weights at `detail`: 0 is the calm end, 1 the detailed one."""
        if detail == self.detail:
            return
        weights = dict(network.named_parameters())
        for number, name in enumerate(self.names):
            detailed, difference = self.get_buffer(f"detailed_{number}"), self.get_buffer(f"difference_{number}")
            layout = weights[name].data
            weights[name].data = torch.empty_like(layout).copy_(torch.add(detailed, difference, alpha=1 - detail))
        self.detail = detail

    @staticmethod
    def between(network: nn.Module, calm: nn.Module) -> "TwoEnds":
        """Of `network` as it is, towards `calm`, another training of the same architecture.

        Raises:
            ValueError: of another architecture.
        """
        towards, weights = dict(calm.named_parameters()), dict(network.named_parameters())
        if {name: weight.shape for name, weight in towards.items()} != {
            n: weight.shape for n, weight in weights.items()
        }:
            raise ValueError("the calm end belongs to another network")
        return TwoEnds(network, {name: towards[name].detach() - weights[name].detach() for name in weights})

    def write(self, file: Path) -> None:
        """Store the way to the calm end; `read` is the reverse."""
        save_file(
            int4.quantize({name: self.get_buffer(f"difference_{number}") for number, name in enumerate(self.names)}),
            file,
            metadata={"format": "pt"},
        )

    @staticmethod
    def read(network: nn.Module, file: Path) -> "TwoEnds":
        """Of a file that `write` wrote.

        Raises:
            OSError, ValueError, safetensors.SafetensorError: no such file, damaged, or of another network.
        """
        shapes = {name: weight.shape for name, weight in network.named_parameters()}
        return TwoEnds(network, int4.dequantize(load_file(file), shapes))
