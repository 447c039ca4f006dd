"""Weights stored as 8-bit integers: half the size of float16, the same pictures (weight-only, per output channel).

Stored under a tensor's name are its integers, (out, ...) int8, and under `name.int8_scale` the step of each output
channel, (out,) float32: weight = integer * step. Small tensors, biases and norms among them, stay in float16.

Deep chains of convolutions without norms add up the rounding: the embedded enlarger's pictures change by 1.8 levels of
255. With a step for every 32 numbers of a channel, (out, groups) float16, it is .4, for a sixteenth more bytes.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FILE_NAME = "int8.safetensors"
"""Stands in for the usual weights in the folder of a network that is stored so."""

SCALE_SUFFIX = ".int8_scale"

GROUP = 32
"""Numbers of an output channel that share a step, where they are stored in groups."""

_SMALLEST = 4096  # numbers in a tensor that is worth it
_LEVELS = 127


def quantize(tensors: dict[str, Tensor], grouped: bool = False) -> dict[str, Tensor]:
    """What is stored of `tensors`; grouped: with a step for every `GROUP` numbers of an output channel."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            stored[name] = tensor.contiguous()
        elif tensor.ndim < 2 or tensor.numel() < _SMALLEST:
            stored[name] = tensor.half().contiguous()
        else:
            rows = tensor.float().flatten(1)
            if grouped:
                groups = F.pad(rows, (0, -rows.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
                step = (groups.abs().amax(-1) / _LEVELS).clamp(min=1e-7).half()  # (out, groups)
            else:
                step = rows.abs().amax(1).clamp(min=1e-12) / _LEVELS  # (out,)
            integers = (rows / _spread(step, rows.shape[1])).round().clamp(-_LEVELS, _LEVELS)
            stored[name] = integers.to(torch.int8).view(tensor.shape).contiguous()
            stored[name + SCALE_SUFFIX] = step
    return stored


def dequantize(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights again, float32 where they were integers; tensors that were not quantized come back as they are."""
    tensors = {name: tensor for name, tensor in stored.items() if not name.endswith(SCALE_SUFFIX)}
    for name, step in stored.items():
        if name.endswith(SCALE_SUFFIX):
            integers = tensors[name.removesuffix(SCALE_SUFFIX)]
            rows = integers.flatten(1) * _spread(step, integers[0].numel())
            tensors[name.removesuffix(SCALE_SUFFIX)] = rows.view(integers.shape)
    return tensors


def _spread(step: Tensor, count: int) -> Tensor:
    """The step of each of the `count` numbers of an output channel, from (out,) or (out, groups), float32."""
    return step[:, None] if step.ndim == 1 else step.float().repeat_interleave(GROUP, 1)[:, :count]


def save(network: nn.Module, file: Path) -> None:
    """Write the weights of `network` as integers."""
    save_file(quantize(network.state_dict()), file, metadata={"format": "pt"})


class Int8Storage:
    """For networks of diffusers: `from_pretrained` reads integers where the folder holds them."""

    @classmethod
    def from_pretrained(cls, folder: Any, **kwargs: Any) -> Any:
        file = Path(folder) / FILE_NAME
        if not file.is_file():
            return super().from_pretrained(folder, **kwargs)  # type: ignore[misc]
        network = cls.from_config(cls.load_config(folder))  # type: ignore[attr-defined]
        network.load_state_dict(dequantize(load_file(file)))
        return nn.Module.to(network, kwargs.get("torch_dtype") or torch.float32).eval()

    def save_int8(self, folder: Path) -> None:
        """As `save_pretrained`, with the weights as integers."""
        self.save_config(folder)  # type: ignore[attr-defined]
        save(self, folder / FILE_NAME)  # type: ignore[arg-type]
