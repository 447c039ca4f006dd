"""Which device and number format to run on, where the user leaves it open."""

import time

import torch

from seesr.errors import SeesrError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; for "auto" the first there is of CUDA, Apple's MPS and the CPU.

    Raises:
        SeesrError: no such device on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SeesrError(f"no device {name!r}; use auto, cpu, cuda, cuda:N or mps") from error
    if not available.get(device.type, False):
        raise SeesrError(f"this machine, or this build of PyTorch, has no {device.type}; use --device auto")
    return device


def choose_dtype(name: str, device: torch.device, exact: bool = False) -> torch.dtype:
    """The number format called `name`; for "auto" half precision where it is faster and `exact` does not forbid it.

    Args:
        exact: the result is to be reproduced to the pixel, so that "auto" means float32 on the CPU.

    Raises:
        SeesrError: no such format.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise SeesrError(f"no dtype {name!r}; use auto, {', '.join(DTYPES)}")
    if device.type != "cpu":
        return torch.float16
    return torch.bfloat16 if not exact and _cpu_prefers_bfloat16() else torch.float32


def _cpu_prefers_bfloat16() -> bool:
    """Time one small convolution in both formats, on processors that may have bfloat16 units at all.

    Without AVX-512 bfloat16 convolutions are emulated, up to hundreds of times slower: not even worth a probe.
    """
    if "AVX512" not in torch.backends.cpu.get_cpu_capability().upper():
        return False

    def seconds(dtype: torch.dtype) -> float:
        x = torch.zeros(1, 64, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.zeros(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, weight, padding=1)
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)
