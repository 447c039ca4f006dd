"""Small differences of weights stored as 4-bit integers, in groups: a quarter of float16's size.

Two integers share a byte. Each group of 32 numbers of an output channel has a step of its own: number = integer * step.
That is too coarse for weights, and more than fine enough for the difference between two trainings of one network, which
is a hundred times smaller: at its calm end the embedded enlarger is .08 levels of 255 from the network it stands for.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Size, Tensor

GROUP = 32
SCALE_SUFFIX = ".int4_scale"

_LEVELS = 7  # -7 to 7, kept as 1 to 15
_SMALLEST = 4096  # numbers in a tensor that is worth it


def quantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is stored of `tensors`: small ones in float16, others as bytes, (out, n / 2), beside their steps."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.numel() < _SMALLEST:
            stored[name] = tensor.half().contiguous()
            continue
        rows = tensor.float().flatten(1)
        groups = F.pad(rows, (0, -rows.shape[1] % GROUP)).unflatten(1, (-1, GROUP))  # (out, groups, GROUP)
        step = (groups.abs().amax(-1) / _LEVELS).clamp(min=1e-7).half()  # (out, groups)
        integers = (groups / step.float()[..., None]).round().clamp(-_LEVELS, _LEVELS) + _LEVELS + 1
        low, high = integers.to(torch.uint8).flatten(1).unflatten(1, (-1, 2)).unbind(-1)
        stored[name] = (low + 16 * high).contiguous()
        stored[name + SCALE_SUFFIX] = step
    return stored


def dequantize(stored: Mapping[str, Tensor], shapes: Mapping[str, Size]) -> dict[str, Tensor]:
    """The tensors again, float32, in the shapes that they had.

    Raises:
        ValueError: other names or sizes than those of `shapes`.
    """
    names = {name for name in stored if not name.endswith(SCALE_SUFFIX)}
    if names != shapes.keys():
        raise ValueError("the stored difference belongs to another network")
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        tensor, step = stored[name].float(), stored.get(name + SCALE_SUFFIX)
        if step is not None:
            both = torch.stack((stored[name] % 16, stored[name] // 16), -1).flatten(1)  # (out, groups * GROUP)
            numbers = (both.float() - _LEVELS - 1).unflatten(1, (-1, GROUP)) * step.float()[..., None]
            tensor = numbers.flatten(1)[:, : Size(shape[1:]).numel()]
        if tensor.numel() != shape.numel():
            raise ValueError(f"the stored difference of {name} has {tensor.numel()} numbers, not {shape.numel()}")
        tensors[name] = tensor.reshape(shape)
    return tensors
