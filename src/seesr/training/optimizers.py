"""Optimisers by name, and the learning rate over the steps."""

import math
from typing import Any

import torch

from seesr.errors import SeesrError
from seesr.training.loop_config import LoopConfig


def make_optimizer(config: LoopConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) over parameter groups, its moments in float32 or in 8 bits.

    In 8 bits (Dettmers et al., arXiv 2110.02861) tensors of less than 4096 values keep moments of 32 bits.

    Raises:
        SeesrError: 8 bits without the library for it.
    """
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay)
    try:
        from bitsandbytes.optim import AdamW8bit
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SeesrError(
            f"optimizer: adamw8bit needs bitsandbytes, which cannot be loaded ({reason}); "
            "pip install 'seesr[train,lowbit]', or use adamw"
        ) from None
    low_bit: torch.optim.Optimizer = AdamW8bit(groups, betas=config.betas, weight_decay=config.weight_decay)
    return low_bit


def learning_rate_factor(config: LoopConfig, step: int, rewarm_from: int | None = None) -> float:
    """Share of the learning rate at `step`, counted from 0: linear warm-up, then the schedule.

    `rewarm_from` is the step at which the optimiser started afresh: its moments come from few steps, so the rate rises
    again from there, over `rewarm_steps`.
    """
    again = 1.0
    if rewarm_from is not None and step < rewarm_from + config.rewarm_steps:
        again = (step - rewarm_from + 1) / config.rewarm_steps
    if step < config.warmup_steps:
        return again * (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
        return again * 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    return again * 0.5 ** sum(step >= milestone for milestone in config.halve_at)
