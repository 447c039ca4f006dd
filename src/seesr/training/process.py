"""What a training run needs of its process: an accelerator, a memory layout, and a way to stop."""

import atexit
import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn


def channels_last(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Pictures among `inputs`, (B, C, H, W), with channels innermost in memory; convolutions hand that layout on."""
    pictures = (isinstance(value, Tensor) and value.ndim == 4 for value in inputs)
    return tuple(
        value.contiguous(memory_format=torch.channels_last) if is_picture else value
        for value, is_picture in zip(inputs, pictures)
    )


def make_accelerator(precision: str, accumulate: int) -> Accelerator:
    """The accelerator of this process, for `fp32` or `bf16` and `accumulate` micro-batches a step."""
    mixed = {"fp32": "no", "bf16": "bf16"}[precision]
    AcceleratorState._reset_state()  # which else keeps the precision of an earlier run in this process
    accelerator = Accelerator(mixed_precision=mixed, gradient_accumulation_steps=accumulate)
    if accelerator.num_processes > 1:
        atexit.register(_leave_group)
    return accelerator


def _leave_group() -> None:
    """Stop the group's threads before the interpreter ends: one that still runs aborts a finished process."""
    if torch.distributed.is_initialized():
        gc.collect()  # networks in cycles hold the group, and with it its threads
        torch.distributed.destroy_process_group()


@contextmanager
def on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Within this context SIGTERM and the first Ctrl-C ask the run to stop after its current step."""

    def handler(number: int, frame: Any) -> None:
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
