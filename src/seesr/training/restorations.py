"""Photos, their degraded versions and what the enlarger makes of those, computed once and kept in a folder.

The enlarger is most of the cost of a training pair, and it is frozen when the diffusion part learns. Shards are pure
functions of the settings and of their number, so a run that was stopped continues with the next one, and several
processes may fill one folder.
"""

import json
import logging
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from seesr.data.samples import Crops, DegradationMix, TrainingPhoto
from seesr.errors import SeesrError
from seesr.models.enlarger import Enlarger
from seesr.system.atomic import write_bytes, write_text

logger = logging.getLogger(__name__)

SHARD = 16  # samples


@dataclass(frozen=True)
class RestorationSettings:
    """What a folder of restorations was made with; all of a folder have the same."""

    crop: int  # HR pixels, a multiple of 4
    seed: int
    degradation: dict[str, float]
    photos: int  # how many they were cut from
    enlarger: str  # hash of its weights
    scale_jitter: float = 1.0  # see `Crops`


def fill(
    folder: Path,
    photos: Sequence[TrainingPhoto],
    settings: RestorationSettings,
    enlarger: Enlarger,
    shards: range,
    minutes: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Write those of `shards` that `folder` does not hold yet; returns how many were written.

    A shard holds, of `SHARD` samples, uint8: `hr`, `enlarged` (n, 3, crop, crop), `lr` (n, 3, crop/4, crop/4); and
    `photo` (n,), the number of the photo each was cut from.

    Raises:
        SeesrError: the folder was made with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, settings)
    crops = Crops(photos, settings.crop, settings.seed, turn=False, jitter=settings.scale_jitter)
    degrade = DegradationMix(settings.degradation)
    enlarger = deepcopy(enlarger)  # the caller's keeps its precision
    enlarger.to(dtype=dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    deadline = time.monotonic() + 60 * (minutes or float("inf"))
    written = 0
    for number in shards:
        place = folder / f"shard-{number:05d}.safetensors"
        if place.exists():
            continue
        if time.monotonic() > deadline:
            break
        indices = range(number * SHARD, (number + 1) * SHARD)
        samples = [crops[index] for index in indices]
        hr = torch.stack([sample["hr"] for sample in samples])
        lr, target = degrade(hr.float() / 255, torch.stack([sample["seed"] for sample in samples]))
        enlarged = torch.cat([enlarger.enlarge(one.to(enlarger.device, dtype)).float().cpu() for one in lr.split(1)])
        tensors = {"hr": _bytes(target), "lr": _bytes(lr), "enlarged": _bytes(enlarged)}
        tensors["photo"] = torch.tensor([crops.photo_of(index) for index in indices])
        content = serialize(tensors)
        write_bytes(place, content)
        written += 1
        logger.info("%s written", place.name)
    return written


def read(folder: Path, names: tuple[str, ...] = ("hr", "lr", "enlarged", "photo")) -> dict[str, Tensor]:
    """All samples of a folder, each tensor over all shards, in the order of their numbers.

    Raises:
        SeesrError: there are none.
    """
    shards = sorted(folder.glob("shard-*.safetensors"))
    if not shards:
        raise SeesrError(f"{folder} holds no restorations yet")
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for shard in shards:
        with safe_open(shard, "pt") as tensors:
            for name in names:
                found[name].append(tensors.get_tensor(name))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _claim(folder: Path, settings: RestorationSettings) -> None:
    place = folder / "settings.json"
    if not place.exists():
        write_text(place, json.dumps(asdict(settings), indent=1))
    elif json.loads(place.read_text()) != asdict(settings):
        raise SeesrError(f"{folder} was made with other settings ({place}); choose another folder or remove it")


def _bytes(pictures: Tensor) -> Tensor:
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()


def count(samples: int) -> int:
    """Shards that hold `samples`."""
    return int(np.ceil(samples / SHARD))
