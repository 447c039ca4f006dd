"""Which device and number format to run on, where the user leaves it open."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from seesr.errors import SeesrError

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Number formats by their short names and by PyTorch's."""

CLEARLY_FASTER = 1.3
"""How many times as fast bfloat16 has to be for "auto" to give up float32's precision on the CPU."""

PROBE_ROUNDS = 24
PROBE_SECONDS = 0.03

_USUAL_HERTZ = 2.5e9  # where the system does not tell
_OPERATIONS = {"avx512_f": 64, "avx512": 64, "avx2": 32, "sve": 32}
_BF16_OPERATIONS = {"amx_bf16": 2048, "avx512_bf16": 128, "bf16": 64}
_LEAST_OPERATIONS = 16
"""Operations of a core in one clock at most, float32 and bfloat16; a multiply-add counts two."""

LEAST_SHARE, USUAL_SHARE = 1 / 16, 1 / 3
"""Of what the processor can do at most, a convolution reaches at least this, and usually that, on an idle machine."""


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
        raise SeesrError(f"this machine, or this build of PyTorch, has no {device.type}; use `device` auto")
    return device


def choose_dtype(name: str, device: torch.device, exact: bool = False) -> torch.dtype:
    """The number format called `name`; for "auto" half precision where it is faster and `exact` does not forbid it.

    On the CPU that is bfloat16 with AMX, or if a probe finds it clearly faster; float16 on other devices.

    Args:
        exact: the result is to be reproduced to the pixel, so that "auto" means float32 on the CPU.

    Raises:
        SeesrError: no such format.
    """
    if name.lower() != "auto":
        return find_dtype(name, "auto")
    if device.type != "cpu":
        return torch.float16
    if exact:
        return torch.float32
    if _capabilities().get("amx_bf16", False):  # several times as fast; the same choice in every run, busy or not
        return torch.bfloat16
    return torch.bfloat16 if probe_cpu().gain >= CLEARLY_FASTER else torch.float32


def find_dtype(name: str, *others: str) -> torch.dtype:
    """The number format called `name`, in whatever case.

    Args:
        others: what else the caller takes, to be told with an error.

    Raises:
        SeesrError: no such format.
    """
    found = DTYPES.get(name.lower().removeprefix("torch."))
    if found is None:
        raise SeesrError(f"no dtype {name!r}; use {', '.join((*others, *DTYPES))}")
    return found


def part_dtype(class_name: str | None, dtype: torch.dtype) -> torch.dtype:
    """The number format that a part of a model gets where the model is loaded in `dtype`.

    The full-size tagger stays in float32, as in the published code: in half precision tags near thresholds change.
    """
    return torch.float32 if class_name == "Tagger" else dtype


@dataclass(frozen=True)
class CpuProbe:
    """What a short convolution took on this processor.

    rates: floating-point operations a second (a multiply-add counts two) by format; bfloat16 only where the processor
        has units for it.
    """

    rates: dict[torch.dtype, float]

    @property
    def gain(self) -> float:
        """How many times as fast bfloat16 is as float32; 0 where it was not tried."""
        return self.rates.get(torch.bfloat16, 0) / self.rates[torch.float32]


@cache
def probe_cpu() -> CpuProbe:
    """Time one small convolution in float32 and, on processors made for it, in bfloat16: once a process, some 40 ms.

    The formats take turns, rounds are shorter than the time slices of a busy system, and each one's best counts, so
    that other work on the machine does not decide. Without units of its own bfloat16 is emulated, up to hundreds of
    times slower: not even worth a probe.
    """
    formats = [torch.float32, torch.bfloat16] if has_bfloat16_units() else [torch.float32]
    side = 32 * min(4, math.isqrt(torch.get_num_threads()))  # about as much work for each thread
    shape, kernel = (1, 64, side, side), (64, 64, 3, 3)
    operations = 2 * math.prod(kernel) * shape[2] * shape[3]
    operands = {
        dtype: [torch.ones(size, dtype=dtype).contiguous(memory_format=torch.channels_last) for size in (shape, kernel)]
        for dtype in formats
    }
    best = dict.fromkeys(formats, math.inf)
    begin = time.perf_counter()
    with torch.inference_mode():
        for done in range(PROBE_ROUNDS):
            if done >= PROBE_ROUNDS // 4 and time.perf_counter() - begin > PROBE_SECONDS:
                break
            for dtype, (image, weight) in operands.items():
                start = time.perf_counter()
                torch.nn.functional.conv2d(image, weight, padding=1)
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    return CpuProbe({dtype: operations / seconds for dtype, seconds in best.items()})


@dataclass(frozen=True)
class Rates:
    """Floating-point operations a second of a convolution were the machine idle: between `slow` and `fast`.

    busy: the probe found less than an idle machine can do, so the rates are those usual for such a processor.
    """

    slow: float
    fast: float
    busy: bool = False


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """What a convolution on `device` reaches: by `probe_cpu`, or on 256 channels elsewhere.

    On the CPU the rates stay between `LEAST_SHARE` of `highest_rate` and all of it, whatever the probe says.
    """
    if device.type != "cpu":
        found = _probe_accelerator(device, dtype)
        return Rates(found / 2, found)
    probe, most = probe_cpu(), highest_rate(dtype)
    found = probe.rates.get(dtype, probe.rates[torch.float32])
    if LEAST_SHARE * most <= found <= most:
        return Rates(max(found / 2, LEAST_SHARE * most), found)
    return Rates(LEAST_SHARE * most, USUAL_SHARE * most, busy=True)


def _probe_accelerator(device: torch.device, dtype: torch.dtype) -> float:
    image = torch.ones(1, 256, 256, 256, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(256, 256, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else torch.mps.synchronize
    best = math.inf
    with torch.inference_mode():
        for _ in range(PROBE_ROUNDS):
            synchronize()
            start = time.perf_counter()
            torch.nn.functional.conv2d(image, weight, padding=1)
            synchronize()
            best = min(best, time.perf_counter() - start)
    return 2 * weight.numel() * math.prod(image.shape[-2:]) / best


def highest_rate(dtype: torch.dtype) -> float:
    """Floating-point operations a second that the processor can do at most: threads x clock x width of its units.

    For bfloat16 on a processor without units for it, as for float32.
    """
    capabilities = _capabilities()

    def widest(units: Mapping[str, int]) -> int:
        return max((count for name, count in units.items() if capabilities.get(name, False)), default=_LEAST_OPERATIONS)

    each = widest(_OPERATIONS)
    if dtype == torch.bfloat16 and has_bfloat16_units():
        each = max(each, widest(_BF16_OPERATIONS))
    return torch.get_num_threads() * _clock() * each


def _clock() -> float:
    """Clock of the processor in hertz, the highest it is known to run at."""
    import psutil

    try:
        frequency = psutil.cpu_freq()
    except (OSError, RuntimeError, NotImplementedError):  # unknown in some virtual machines
        return _USUAL_HERTZ
    megahertz = max(frequency.max or 0.0, frequency.current or 0.0) if frequency else 0.0
    return megahertz * 1e6 if 500 <= megahertz <= 8000 else _USUAL_HERTZ


def has_bfloat16_units() -> bool:
    """Whether the processor says it multiplies bfloat16 itself: AVX-512 BF16 or AMX on x86, BF16 on ARM.

    False where PyTorch is too old to tell.
    """
    capabilities = _capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _capabilities() -> Mapping[str, Any]:
    """What the processor can do, by PyTorch's names; nothing where PyTorch is too old to tell."""
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found
