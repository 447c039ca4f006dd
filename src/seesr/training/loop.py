"""The training loop of all stages, on Accelerate: a stage defines networks, samples and loss, the loop does the rest.

Samples are numbered, and a run's state is its weights, optimiser, averaged weights, random generators and the number of
samples seen. A checkpoint is a folder that appears under its name only when complete, so a run killed at any moment
resumes from the last one, and on a CPU in fp32 ends with the weights of an unbroken run, to the last bit.
"""

import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from seesr.data.samples import materialise
from seesr.errors import SeesrError
from seesr.system.atomic import write_folder
from seesr.training.averaging import WeightAverage
from seesr.training.checkpoints import Checkpoints, Counters
from seesr.training.loop_config import LoopConfig
from seesr.training.optimizers import learning_rate_factor, make_optimizer
from seesr.training.process import channels_last, make_accelerator, on_signal
from seesr.training.progress import ProgressLog
from seesr.training.run_folder import METRICS, check_output

logger = logging.getLogger(__name__)

_GIVE_UP_AFTER = 20  # steps without a finite gradient, one after the other


class Stage(ABC):
    """One kind of training. The loop moves all `modules` and `frozen` networks to the device and wraps `modules`."""

    modules: dict[str, nn.Module]  # trained
    averaged: tuple[str, ...]  # those of `modules` whose moving average is validated and saved
    frozen: dict[str, nn.Module]  # networks that losses and teachers are made of

    @abstractmethod
    def dataset(self) -> Dataset[dict[str, Any]]:
        """Samples by running number, without end; `damaged`, if it has one, counts the pictures left out.

        The loop turns the numbers of `OnDevice` samples into batches; `training_step` never sees them.
        """

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
        SeesrError: a checkpoint of another model, a loss that stays infinite, or files in `output` that no run wrote.
    """
    check_output(Path(config.output), config.overwrite)
    set_seed(config.seed)
    return _Run(make_stage(), config).run()


class _Run:
    def __init__(self, stage: Stage, config: LoopConfig):
        self.stage, self.config = stage, config
        self.output = Path(config.output)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.accelerator = make_accelerator(config.precision, config.accumulate)
        device = self.accelerator.device
        for network in stage.frozen.values():
            network.to(device)
        if config.precision != "fp32":  # the faster layout, but for the backward pass of float32 on CPUs
            for network in (*stage.modules.values(), *stage.frozen.values()):
                network.register_forward_pre_hook(channels_last)
        plain = dict(stage.modules)
        optimizer = make_optimizer(config, stage.parameter_groups(config.learning_rate))
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        *modules, self.optimizer = self.accelerator.prepare(*plain.values(), optimizer)
        stage.modules = dict(zip(plain, modules))
        self.saved = time.monotonic()
        self.deadline = self.saved + 60 * (config.max_minutes or math.inf)
        self.average = WeightAverage({name: plain[name] for name in stage.averaged}, config.ema_decay)
        self.checkpoints = Checkpoints(
            self.output,
            self.accelerator,
            plain,
            self.average,
            keep=config.keep_checkpoints,
            light=config.light_checkpoint,
        )
        self.at = Counters()
        self.stopping = False  # asked to by a signal
        self.writer: SummaryWriter | None = None  # of the main process

    def run(self) -> dict[str, float]:
        if self.accelerator.is_main_process:
            self.output.mkdir(parents=True, exist_ok=True)
            (self.output / METRICS).touch()  # marks the folder as a run's
        self.at = self.checkpoints.resume()
        self.dataset = self.stage.dataset()
        with on_signal(self._stop), self._tensorboard():
            if self.at.step == 0 and self.config.validate_steps:
                self._validate(final=False)
            self._train()
            if self.stopping:
                logger.info("stopped at step %d; the same command resumes from there", self.at.step)
                return {}
            return self._validate(final=True)

    @contextmanager
    def _tensorboard(self) -> Iterator[None]:
        if self.accelerator.is_main_process:
            with SummaryWriter(str(self.output / "tensorboard"), purge_step=self.at.step) as self.writer:
                yield
        else:
            yield

    def _log(self, prefix: str, scalars: dict[str, float]) -> None:
        if self.writer:
            for name, value in scalars.items():
                self.writer.add_scalar(f"{prefix}/{name}", value, self.at.step)

    def _train(self) -> None:
        config, batches = self.config, self._batches()
        start, bad = self.at.step, 0
        with ProgressLog(config.steps, self.at.step, config.log_seconds, self.accelerator.is_main_process) as progress:
            while self.at.step < config.steps and not self._anywhere(self.stopping or time.monotonic() > self.deadline):
                scalars, finite = self._step(batches)
                bad = 0 if finite else bad + 1
                self.at.skipped += not finite
                if bad >= _GIVE_UP_AFTER:
                    raise SeesrError(
                        f"no finite gradient in {bad} steps up to step {self.at.step}; lower learning_rate or use "
                        f"another precision, then run again: it resumes from the last checkpoint in {self.output}"
                    )
                progress.advance(self._samples_per_step, scalars["loss"], self.at.skipped)
                if self.at.step % 10 == 0 or self.at.step == start + 1:
                    left_out = {"skipped": self.at.skipped, "damaged": self._damaged()}
                    self._log("train", scalars | {"images_per_second": progress.rate} | left_out)
                if config.validate_steps and self.at.step % config.validate_steps == 0 and self.at.step < config.steps:
                    self._validate(final=False)
                if self._checkpoint_is_due():
                    self._checkpoint()
        self._checkpoint()
        self.stopping = self._anywhere(self.stopping)

    def _step(self, batches: Iterator[dict[str, Any]]) -> tuple[dict[str, float], bool]:
        """One optimiser step; the scalars of its last micro-batch, and whether its gradient was finite."""
        config, accelerator = self.config, self.accelerator
        factor = learning_rate_factor(config, self.at.step, self.at.rewarm_from)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates):
            group["lr"] = rate * factor
        modules = list(self.stage.modules.values())
        for module in modules:
            module.train()
        for _ in range(config.accumulate):
            with accelerator.accumulate(*modules):
                with accelerator.autocast():
                    losses = self.stage.training_step(next(batches), self.at.step)
                accelerator.backward(losses["loss"])
        norms = [
            nn.utils.clip_grad_norm_(group["params"], config.clip_norm or math.inf)
            for group in self.optimizer.param_groups
        ]
        finite = all(bool(torch.isfinite(norm)) for norm in norms)
        self.at.step += 1
        self.at.samples += self._samples_per_step
        if finite:
            self.optimizer.step()
            self.average.update(self.at.step)
        self.optimizer.zero_grad()
        scalars = {name: float(value.detach()) for name, value in losses.items()}
        return scalars | {f"gradient_{i}": float(norm) for i, norm in enumerate(norms)}, finite

    def _anywhere(self, flag: bool) -> bool:
        """Whether `flag` is true in any process, so that clocks and signals take effect in all of them at one step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device)) > 0)

    @property
    def _samples_per_step(self) -> int:
        return self.config.batch_size * self.config.accumulate * int(self.accelerator.num_processes)

    def _batches(self) -> Iterator[dict[str, Any]]:
        """Micro-batches, from the first unseen sample; processes take turns."""
        first, processes = self.at.samples + self.accelerator.process_index, self.accelerator.num_processes
        count = (self.config.steps - self.at.step) * self._samples_per_step
        loader = DataLoader(
            self.dataset,
            sampler=range(first, self.at.samples + count, processes),
            batch_size=self.config.batch_size,
            num_workers=self.config.workers,
            generator=torch.Generator(),  # without one the loader would draw from the global generator at its start
            pin_memory=self.accelerator.device.type == "cuda",
        )
        for batch in loader:
            yield materialise(self.dataset, {name: self._to_device(value) for name, value in batch.items()})

    def _to_device(self, value: Any) -> Any:
        """Tensors are moved; other values, such as texts, stay as they are."""
        return value.to(self.accelerator.device, non_blocking=True) if isinstance(value, Tensor) else value

    def _validate(self, final: bool) -> dict[str, float]:
        """Metrics of the averaged weights into `metrics.jsonl` and TensorBoard, the weights into `model/`."""
        with torch.no_grad(), self.average.applied():
            metrics = self._validate_here(final) if self.accelerator.is_main_process else {}
            self.accelerator.wait_for_everyone()
        return metrics

    def _validate_here(self, final: bool) -> dict[str, float]:
        with torch.random.fork_rng():
            for module in self.stage.modules.values():
                module.eval()
            write_folder(self.output / "model", self.stage.save)
            metrics, pictures = self.stage.validate(final)
        record = {"step": self.at.step, "samples": self.at.samples, "final": final} | metrics
        if self._damaged():
            record["damaged"] = self._damaged()
        with (self.output / METRICS).open("a") as file:
            file.write(json.dumps(record) + "\n")
        logger.info("validation %s", json.dumps(record))
        self._log("validation", metrics)
        for name, picture in pictures.items():
            if self.writer:
                self.writer.add_image(f"validation/{name}", picture.clamp(0, 1), self.at.step)
        return metrics

    def _damaged(self) -> int:
        """Pictures found damaged in this run."""
        return int(getattr(self.dataset, "damaged", 0))

    def _checkpoint_is_due(self) -> bool:
        by_steps = self.config.checkpoint_steps and self.at.step % self.config.checkpoint_steps == 0
        return bool(by_steps) or self._anywhere(time.monotonic() - self.saved > 60 * self.config.checkpoint_minutes)

    def _checkpoint(self) -> None:
        self.checkpoints.save(self.at)
        self.saved = time.monotonic()

    def _stop(self) -> None:
        self.stopping = True
