"""Settings that every stage's config has: how the loop trains, saves and validates."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from seesr.devices import choose_device, choose_dtype
from seesr.errors import SeesrError


@dataclass(kw_only=True)
class LoopConfig:
    """Settings of every stage. Minutes count this run, steps the whole training."""

    output: str  # folder for checkpoints, logs and the trained model; a run continues what it finds there
    overwrite: bool = False  # files in `output` that no training run wrote are replaced
    steps: int  # optimiser steps; the schedule spans them
    batch_size: int  # per process and micro-batch
    learning_rate: float
    seed: int = 0
    accumulate: int = 1  # micro-batches per step
    precision: Literal["auto", "fp32", "bf16"] = "fp32"  # auto: bf16 where it is faster, else fp32
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0  # for each parameter group
    schedule: Literal["constant", "cosine", "halve"] = "constant"  # after the warm-up
    halve_at: list[int] = field(default_factory=list)  # steps, for `halve`
    warmup_steps: int = 0
    ema_decay: float = 0.999  # 0: the averaged weights are the trained ones
    max_minutes: float | None = None  # stop cleanly after this long
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int | None = None  # and after so many steps
    keep_checkpoints: int = 2
    light_checkpoint: bool = False  # write a small checkpoint into `light/` too, for other machines
    rewarm_steps: int = 100  # of the learning rate, after going on from a light one
    validate_steps: int | None = None  # None: only at the end
    log_seconds: float = 30.0  # between log lines where there is no terminal
    workers: int = 0  # processes that prepare samples
    threads: int | None = None  # of torch on the CPU

    def __post_init__(self) -> None:
        if self.precision == "auto":
            half = choose_dtype("auto", choose_device()) != torch.float32
            self.precision = "bf16" if half else "fp32"
        positive = ("steps", "batch_size", "accumulate", "keep_checkpoints", "learning_rate", "checkpoint_minutes")
        for key in (*positive, "checkpoint_steps", "rewarm_steps"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise SeesrError(f"{key} is {value}; give a number above 0")
        if self.workers < 0:
            raise SeesrError(f"workers is {self.workers}; give 0 or the number of processes")
        if not 0 <= self.ema_decay < 1:
            raise SeesrError(f"ema_decay is {self.ema_decay}; give a number from 0 to below 1")
        if self.warmup_steps > self.steps:
            raise SeesrError(f"warmup_steps is {self.warmup_steps}, more than steps ({self.steps})")
        if bool(self.halve_at) != (self.schedule == "halve"):
            raise SeesrError(f"halve_at is {self.halve_at} with schedule {self.schedule}; they go together")
