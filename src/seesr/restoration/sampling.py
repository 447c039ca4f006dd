"""Sampling: the LR embedding as start (SeeSR, section 3.4), the steps, and when guidance applies."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from seesr.errors import SeesrError
from seesr.restoration.interfaces import Scheduler
from seesr.restoration.settings import StartPoint


def set_timesteps(scheduler: Scheduler, steps: int, start: int, device: torch.device, dense_ends: float = 0.0) -> None:
    """Plan `steps` denoising steps: the scheduler's own plan over the whole schedule, or one of `planned_steps`.

    Args:
        start: a training step, or 0 for the whole schedule.
        dense_ends: as of `planned_steps`; with 0 and no start it is the scheduler that plans.

    Raises:
        SeesrError: this scheduler takes no other plan than its own, or the steps come to lie on each other.
    """
    if not start and not dense_ends:
        scheduler.set_timesteps(steps, device=device)
        return
    if "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        asked = f"start at step {start}" if start else "plan its steps with `dense_ends`"
        raise SeesrError(f"{type(scheduler).__name__} cannot {asked}; use `scheduler` ddpm")
    planned = planned_steps(steps, start or len(scheduler.alphas_cumprod) - 1, dense_ends)
    if len(set(planned)) < steps:
        raise SeesrError(f"`dense_ends` {dense_ends:g} puts some of {steps} steps on each other; give less of either")
    scheduler.set_timesteps(timesteps=planned, device=device)


def planned_steps(steps: int, start: int, dense_ends: float = 0.0) -> list[int]:
    """Training steps from `start` down to 0, that one left out; whole, falling and at least 1.

    Early steps decide on what is large and late ones on fine texture, so both may lie closer than those in the middle
    (time-aware sampling, arXiv 2505.12048; the curve is this project's). The way is u - d sin(2 pi u) / 2 pi,
    whose slope is 1 - d at both ends and 1 + d in the middle.

    Args:
        dense_ends: d, from 0, even, to less than 1.
    """
    if not dense_ends:
        return [max(start * (steps - i) // steps, 1) for i in range(steps)]
    even = [(steps - i) / steps for i in range(steps)]
    return [max(round(start * (u - dense_ends * math.sin(2 * math.pi * u) / (2 * math.pi))), 1) for u in even]


def start_latents(
    scheduler: Scheduler,
    lr_latents: torch.Tensor,
    noise: torch.Tensor,
    start_point: StartPoint,
    start_timestep: int = 0,
) -> torch.Tensor:
    """Where sampling starts: the photo's own latents with noise ("lr"), or pure noise.

    Training never shows the model pure noise (the last step keeps sqrt(alpha_bar) = 0.068 of the picture), so starting
    from the LR embedding closes the gap between training and sampling. The first sampling step may lie a little
    earlier than the step the noise belongs to (981 of 1000 with 50 steps); that is as published.

    Args:
        scheduler: with its timesteps set.
        start_point: "lr", "noise", or "lr-clean" for the LR embedding without noise, which models of one or few steps
            are trained to take for a noisy sample.
        start_timestep: the training step to which "lr" is noised; 0 for the last.
        lr_latents, noise: (B, C, h, w), float32; latents scaled by the VAE's factor, noise unit normal.
    """
    if start_point == "lr-clean":
        return lr_latents
    latents: torch.Tensor = noise
    if start_point == "lr":
        alpha_bar = scheduler.alphas_cumprod[start_timestep or -1].to(noise.device)
        latents = alpha_bar.sqrt() * lr_latents + (1 - alpha_bar).sqrt() * noise
    started: torch.Tensor = latents * scheduler.init_noise_sigma
    return started


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (arXiv 2207.12598), on for part of the steps (arXiv 2404.07724).

    scale: 1 or less switches it off. interval: (first, last) as fractions of the steps, 0 the noisiest.
    """

    scale: float
    interval: tuple[float, float] = (0.0, 1.0)

    def scale_at(self, step: int, steps: int) -> float:
        """The scale for step 0 … steps-1; 1 means the negative prompt need not be run."""
        position = step / max(1, steps - 1)
        return self.scale if self.scale > 1 and self.interval[0] <= position <= self.interval[1] else 1.0


def guide(predictions: torch.Tensor, scale: float | torch.Tensor) -> torch.Tensor:
    """(2, …) predictions for [negative, positive], or (1, …) for the positive alone → the guided one, (1, …).

    scale: of the whole picture, or of each place, broadcast; where it is 1 the positive prediction is left as it is.
    """
    if predictions.shape[0] == 1:
        return predictions
    negative, positive = predictions.chunk(2)
    if isinstance(scale, torch.Tensor):
        return torch.lerp(negative, positive, scale)
    return negative + scale * (positive - negative)


def denoise(
    scheduler: Scheduler,
    latents: torch.Tensor,
    predict: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor],
    guidance: Guidance,
    generator: torch.Generator,
    on_step: Callable[[int, torch.Tensor], None] = lambda step, latents: None,
) -> torch.Tensor:
    """Run every step of `scheduler`.

    Args:
        latents: (1, C, h, w), float32, from `start_latents`.
        predict: (scaled latents, timestep, guidance scale) → the model's guided output, (1, C, h, w).
        generator: on the CPU; stochastic schedulers draw from it once a step.
        on_step: called after each step with its index and the new latents.
    """
    timesteps = scheduler.timesteps
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generator} if takes_generator else {}
    for i, t in enumerate(timesteps):
        scaled = scheduler.scale_model_input(latents, t)
        prediction = predict(scaled, t, guidance.scale_at(i, len(timesteps)))
        latents = scheduler.step(prediction, t, latents, **extra, return_dict=False)[0]
        on_step(i, latents)
    return latents
