"""Does the data path keep up? Samples a second of a stage's data, and of its training step, on this machine.

    python benchmarks/training.py dape --config configs/sd2/dape.yaml [key=value ...] [--workers 0 4 12]
    python benchmarks/training.py seesr --config CONFIG --data-only

The stage is built from its config as `seesr train` builds it. The data path is timed with each number of loader
processes, the step (forward, backward, AdamW) on one batch again and again. The last line says how many processes keep
one device busy.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch.utils.data import DataLoader, default_collate

from seesr.data.photos import StreamedPhotos, load_photos
from seesr.data.samples import Crops, DegradationMix, Pairs, Squares, materialise
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.stages import dape, seesr

STAGES: dict[str, Any] = {"dape": (dape.DapeConfig, dape.DapeStage), "seesr": (seesr.SeesrConfig, seesr.SeesrStage)}


def data(stage: str, config: Any) -> Pairs:
    """The stage's samples, without its networks."""
    degrade = DegradationMix(config.degradation)
    if stage == "dape":
        squares = Squares(load_photos(config.photos, 1, memory_gb=config.memory_gb), config.size)
        return Pairs(Crops(squares, config.size, config.seed, turn=False), degrade)
    photos = load_photos(config.photos, config.crop, small=config.small_photos, memory_gb=config.memory_gb)
    return Pairs(Crops(photos, config.crop, config.seed, turn=False, jitter=config.scale_jitter), degrade)


def data_rate(samples: Pairs, config: Any, workers: int, seconds: float) -> tuple[float, float]:
    """Samples a second with so many processes, from the second batch on; and, without any, the processor's seconds a
    sample, which other work on the machine does not change."""
    loader = iter(DataLoader(samples, sampler=range(10**6), batch_size=config.batch_size, num_workers=workers))
    next(loader)
    done, start, busy = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        next(loader)
        done += config.batch_size
    return done / (time.perf_counter() - start), (time.process_time() - busy) / done if workers == 0 else math.nan


def step_rate(stage: loop.Stage, config: Any, steps: int) -> float:
    """Samples a second of the training step."""
    device = PartialState().device
    for network in (*stage.modules.values(), *stage.frozen.values()):
        network.to(device)
    samples = stage.dataset()
    drawn = default_collate([samples[index] for index in range(config.batch_size)])
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in drawn.items()}
    batch = materialise(samples, moved)
    optimizer = torch.optim.AdamW(stage.parameter_groups(config.learning_rate))
    start = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first one warms up
            _wait(device)
            start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = stage.training_step(batch, step)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    _wait(device)
    return steps * config.batch_size / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--data-only", action="store_true")
    arguments = parser.parse_intermixed_args()
    config_type, stage_type = STAGES[arguments.stage]
    config = load_config(config_type, arguments.config, arguments.overrides)
    if config.threads:
        torch.set_num_threads(config.threads)
    samples = data(arguments.stage, config)
    crops_of: Any = samples.crops.photos
    source = getattr(crops_of, "photos", crops_of)
    print(f"{len(samples)} photos, {'read while training' if isinstance(source, StreamedPhotos) else 'in memory'}")
    rates = {workers: data_rate(samples, config, workers, arguments.seconds) for workers in arguments.workers}
    for workers, (rate, cost) in rates.items():
        print(
            f"data, {workers} workers: {rate:.2f} samples/s"
            + (f", {cost:.3f} s of processor each" if not workers else "")
        )
    if arguments.data_only:
        return
    torch.manual_seed(config.seed)
    rate = step_rate(stage_type(config), config, arguments.steps)
    best = max(value / max(workers, 1) for workers, (value, _) in rates.items())
    print(f"step on {PartialState().device}, {config.precision}, batch {config.batch_size}: {rate:.2f} samples/s")
    print(f"{math.ceil(rate / best)} loader processes keep one such device busy")


if __name__ == "__main__":
    main()
