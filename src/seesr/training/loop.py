"""The one training loop under all stages, on Accelerate: a stage says what is trained on which loss, the loop the rest.

Samples are numbered, and a run's state is its weights, optimiser, averaged weights, random generators and the number of
samples seen. A checkpoint is a folder that appears under its name only when complete, so a run killed at any moment
goes on from the last one, and on a CPU in fp32 ends with the weights of an unbroken run, to the last bit.
"""

import json
import logging
import math
import os
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from seesr.errors import SeesrError
from seesr.training.progress import Progress

logger = logging.getLogger(__name__)

_GIVE_UP_AFTER = 20  # steps without a finite gradient, one after the other


@dataclass(kw_only=True)
class LoopConfig:
    """What every stage's config has. Minutes are of this run, steps are of the training as a whole."""

    output: str  # folder for checkpoints, logs and the trained model; a run continues what it finds there
    steps: int  # optimiser steps; the schedule spans them
    batch_size: int  # per process and micro-batch
    learning_rate: float
    seed: int = 0
    accumulate: int = 1  # micro-batches per step
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0  # for each parameter group
    schedule: Literal["constant", "cosine", "halve"] = "constant"  # after the warm-up
    halve_at: list[int] = field(default_factory=list)  # steps, for `halve`
    warmup_steps: int = 0
    ema_decay: float = 0.999  # 0: the averaged weights are the trained ones
    max_minutes: float | None = None  # stop cleanly after this long
    checkpoint_minutes: float = 5.0
    keep_checkpoints: int = 2
    validate_steps: int | None = None  # None: only at the end
    log_seconds: float = 30.0  # between log lines where there is no terminal
    workers: int = 0  # processes that prepare samples
    threads: int | None = None  # of torch on the CPU

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "accumulate", "keep_checkpoints", "learning_rate", "checkpoint_minutes"):
            if getattr(self, key) <= 0:
                raise SeesrError(f"{key} is {getattr(self, key)}; give a number above 0")
        if not 0 <= self.ema_decay < 1:
            raise SeesrError(f"ema_decay is {self.ema_decay}; give a number from 0 to below 1")
        if self.warmup_steps > self.steps:
            raise SeesrError(f"warmup_steps is {self.warmup_steps}, more than steps ({self.steps})")
        if bool(self.halve_at) != (self.schedule == "halve"):
            raise SeesrError(f"halve_at is {self.halve_at} with schedule {self.schedule}; they go together")


class Stage(ABC):
    """One kind of training. The loop moves all `modules` and `frozen` networks to the device and wraps `modules`."""

    modules: dict[str, nn.Module]  # trained
    averaged: tuple[str, ...]  # those of `modules` whose moving average is validated and saved
    frozen: dict[str, nn.Module]  # networks that losses and teachers are made of

    @abstractmethod
    def dataset(self) -> Dataset[dict[str, Tensor]]:
        """Samples by running number, without end."""

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Groups for the optimiser, each with its own `lr` and clipped by its own norm."""
        return [{"params": list(module.parameters()), "lr": learning_rate} for module in self.modules.values()]

    @abstractmethod
    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Scalars for the log; `loss` is the one that is minimised."""

    @abstractmethod
    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics, and pictures (3, H, W) in [0, 1], of the averaged weights; thorough when `final`."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the averaged weights as a folder that the next stage or the pipeline loads."""


def train(make_stage: Callable[[], Stage], config: LoopConfig) -> dict[str, float]:
    """Train until `steps`, `max_minutes` or a SIGTERM; returns the last metrics (none after a SIGTERM).

    `make_stage` is called once the random generators are seeded, so that new weights are drawn alike in every run.
    Writes below `config.output`: `checkpoints/`, `model/` (see `Stage.save`), `metrics.jsonl`, `tensorboard/`.

    Raises:
        SeesrError: a checkpoint of another model, or a loss that stays infinite.
    """
    set_seed(config.seed)
    return _Run(make_stage(), config).run()


def learning_rate_factor(config: LoopConfig, step: int) -> float:
    """Share of the learning rate at `step`, counted from 0: linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    return 0.5 ** sum(step >= milestone for milestone in config.halve_at)


class WeightAverage:
    """Exponential moving average of the trained parameters of modules; its decay grows from .1 to the one given."""

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
        self._copy(self.shadow)
        try:
            yield
        finally:
            self._copy(trained)

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])


class _Run:
    def __init__(self, stage: Stage, config: LoopConfig):
        self.stage, self.config = stage, config
        self.output = Path(config.output)
        self.step = self.samples = self.skipped = 0
        if config.threads:
            torch.set_num_threads(config.threads)
        mixed = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[config.precision]
        self.accelerator = Accelerator(mixed_precision=mixed, gradient_accumulation_steps=config.accumulate)
        device = self.accelerator.device
        for network in stage.frozen.values():
            network.to(device)
        plain = dict(stage.modules)
        optimizer = torch.optim.AdamW(
            stage.parameter_groups(config.learning_rate), betas=config.betas, weight_decay=config.weight_decay
        )
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        *modules, self.optimizer = self.accelerator.prepare(*plain.values(), optimizer)
        stage.modules = dict(zip(plain, modules))
        self.saved = time.monotonic()
        self.deadline = self.saved + 60 * (config.max_minutes or math.inf)
        self.average = WeightAverage({name: plain[name] for name in stage.averaged}, config.ema_decay)
        self.stopping = False  # asked to by a signal
        self.writer: SummaryWriter | None = None  # of the main process

    def run(self) -> dict[str, float]:
        self._resume()
        with _on_signal(self._stop), self._tensorboard():
            if self.step == 0 and self.config.validate_steps:
                self._validate(final=False)
            self._train()
            if self.stopping:
                logger.info("stopped at step %d; the same command goes on from there", self.step)
                return {}
            return self._validate(final=True)

    @contextmanager
    def _tensorboard(self) -> Iterator[None]:
        if self.accelerator.is_main_process:
            with SummaryWriter(str(self.output / "tensorboard"), purge_step=self.step) as self.writer:
                yield
        else:
            yield

    def _log(self, prefix: str, scalars: dict[str, float]) -> None:
        if self.writer:
            for name, value in scalars.items():
                self.writer.add_scalar(f"{prefix}/{name}", value, self.step)

    def _train(self) -> None:
        config, batches = self.config, self._batches()
        start, bad = self.step, 0
        with Progress(config.steps, self.step, config.log_seconds, self.accelerator.is_main_process) as progress:
            while self.step < config.steps and not self._anywhere(self.stopping or time.monotonic() > self.deadline):
                scalars, finite = self._step(batches)
                bad = 0 if finite else bad + 1
                self.skipped += not finite
                if bad >= _GIVE_UP_AFTER:
                    raise SeesrError(
                        f"no finite gradient in {bad} steps up to step {self.step}; lower learning_rate or use another "
                        f"precision, then run again: it goes on from the last checkpoint in {self.output}"
                    )
                progress.advance(self._samples_per_step, scalars["loss"], self.skipped)
                if self.step % 10 == 0 or self.step == start + 1:
                    self._log("train", scalars | {"images_per_second": progress.rate, "skipped": self.skipped})
                if config.validate_steps and self.step % config.validate_steps == 0 and self.step < config.steps:
                    self._validate(final=False)
                if self._anywhere(time.monotonic() - self.saved > 60 * config.checkpoint_minutes):
                    self._checkpoint()
        self._checkpoint()
        self.stopping = self._anywhere(self.stopping)

    def _step(self, batches: Iterator[dict[str, Tensor]]) -> tuple[dict[str, float], bool]:
        """One optimiser step; the scalars of its last micro-batch, and whether its gradient was finite."""
        config, accelerator = self.config, self.accelerator
        factor = learning_rate_factor(config, self.step)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates):
            group["lr"] = rate * factor
        modules = list(self.stage.modules.values())
        for module in modules:
            module.train()
        for _ in range(config.accumulate):
            with accelerator.accumulate(*modules):
                with accelerator.autocast():
                    losses = self.stage.training_step(next(batches), self.step)
                accelerator.backward(losses["loss"])
        accelerator.unscale_gradients()
        norms = [
            nn.utils.clip_grad_norm_(group["params"], config.clip_norm or math.inf)
            for group in self.optimizer.param_groups
        ]
        finite = all(bool(torch.isfinite(norm)) for norm in norms)
        if finite or accelerator.scaler is not None:  # the scaler of fp16 must see infinities to become smaller
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.samples += self._samples_per_step
        if finite:
            self.average.update(self.step)
        scalars = {name: float(value.detach()) for name, value in losses.items()}
        return scalars | {f"gradient_{i}": float(norm) for i, norm in enumerate(norms)}, finite

    def _anywhere(self, flag: bool) -> bool:
        """Whether `flag` is true in any process, so that clocks and signals take effect in all of them at one step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device)) > 0)

    @property
    def _samples_per_step(self) -> int:
        return self.config.batch_size * self.config.accumulate * self.accelerator.num_processes

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        """Micro-batches from the first sample not yet seen on; processes take turns."""
        first, processes = self.samples + self.accelerator.process_index, self.accelerator.num_processes
        count = (self.config.steps - self.step) * self._samples_per_step
        loader = DataLoader(
            self.stage.dataset(),
            sampler=range(first, self.samples + count, processes),
            batch_size=self.config.batch_size,
            num_workers=self.config.workers,
            generator=torch.Generator(),  # without one the loader would draw from the global generator at its start
            pin_memory=self.accelerator.device.type == "cuda",
        )
        for batch in loader:
            yield {name: value.to(self.accelerator.device, non_blocking=True) for name, value in batch.items()}

    def _validate(self, final: bool) -> dict[str, float]:
        """Metrics of the averaged weights into `metrics.jsonl` and TensorBoard, the weights into `model/`."""
        metrics = self._validate_here(final) if self.accelerator.is_main_process else {}
        self.accelerator.wait_for_everyone()
        return metrics

    def _validate_here(self, final: bool) -> dict[str, float]:
        with torch.random.fork_rng(), torch.no_grad(), self.average.applied():
            for module in self.stage.modules.values():
                module.eval()
            _write_folder(self.output / "model", self.stage.save)
            metrics, pictures = self.stage.validate(final)
        record = {"step": self.step, "samples": self.samples, "final": final} | metrics
        with (self.output / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        logger.info("validation %s", json.dumps(record))
        self._log("validation", metrics)
        for name, picture in pictures.items():
            if self.writer:
                self.writer.add_image(f"validation/{name}", picture.clamp(0, 1), self.step)
        return metrics

    def _checkpoint(self) -> None:
        folder = self.output / "checkpoints" / f"step-{self.step:08d}"
        state = {"step": self.step, "samples": self.samples, "skipped": self.skipped}

        def write(partial: Path) -> None:
            self.accelerator.save_state(str(partial))
            if self.accelerator.is_main_process:
                save_file(self.average.shadow, partial / "average.safetensors")
                (partial / "state.json").write_text(json.dumps(state))

        _write_folder(folder, write, self.accelerator)
        if self.accelerator.is_main_process:
            for old in self._checkpoints()[: -self.config.keep_checkpoints]:
                shutil.rmtree(old)
        self.saved = time.monotonic()

    def _checkpoints(self) -> list[Path]:
        return sorted((self.output / "checkpoints").glob("step-" + "[0-9]" * 8))

    def _resume(self) -> None:
        if not (found := self._checkpoints()):
            return
        try:
            self.accelerator.load_state(str(found[-1]))
            shadow = load_file(found[-1] / "average.safetensors", device=str(self.accelerator.device))
            for name, value in self.average.shadow.items():
                value.copy_(shadow[name])
            state = json.loads((found[-1] / "state.json").read_text())
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise SeesrError(f"{found[-1]} is no checkpoint of this model ({reason}); choose another output") from error
        self.step, self.samples, self.skipped = state["step"], state["samples"], state["skipped"]
        logger.info("going on from %s, %d samples seen", found[-1], self.samples)

    def _stop(self) -> None:
        self.stopping = True


def _write_folder(folder: Path, write: Callable[[Path], None], everyone: Accelerator | None = None) -> None:
    """Let `write` fill a folder that takes its name, in place of an older one, only when it is complete.

    With `everyone` all processes write into it; without, the calling one alone.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    leads = everyone is None or everyone.is_main_process
    if leads:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    if everyone:
        everyone.wait_for_everyone()
    write(partial)
    if everyone:
        everyone.wait_for_everyone()
    if leads:
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    if everyone:
        everyone.wait_for_everyone()


@contextmanager
def _on_signal(stop: Callable[[], None]) -> Iterator[None]:
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
