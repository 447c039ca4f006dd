"""Samples of training: crops of photos, and the degraded copies made of them.

Every sample is a pure function of the seed and its running number: which photo (a fresh permutation each epoch), where
the crop lies, how it is turned, and the seed of its degradation. So a run can resume at any sample, and the
number of worker processes changes nothing. A sample is one object from photo to batch: its clean picture, its
degraded one and its tags cannot come apart.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from seesr.data.photos import PhotosConfig, TrainingPhoto, load_photos
from seesr.degradation import Degradation, preset
from seesr.errors import SeesrError

__all__ = [
    "SCALE",
    "Crops",
    "DegradationMix",
    "OnDevice",
    "Pairs",
    "PhotosConfig",
    "Squares",
    "TrainingPhoto",
    "enlarge",
    "load_photos",
    "materialise",
]

SCALE = 4  # HR side / LR side
VALIDATION_SEED = 1234


class Crops(Dataset[dict[str, Any]]):
    """Endless random crops, mirrored and, with `turn`, turned by quarters.

    Sample number -> `hr`, uint8 (3, crop, crop), its `seed` and, of photos that have them, its `tags`, a text.

    jitter: below 1, a crop is a window 1 to 1 / jitter times as wide (uniform in its inverse, and no wider than the
    photo), reduced without aliasing.
    """

    def __init__(self, photos: Sequence[TrainingPhoto], crop: int, seed: int, turn: bool = True, jitter: float = 1.0):
        self.photos = photos
        self.crop = crop
        self.seed = seed
        self.turn = turn
        self.jitter = jitter
        self._permutation = lru_cache(maxsize=2)(self._draw_permutation)

    @property
    def damaged(self) -> int:
        """Pictures found damaged while training."""
        return getattr(self.photos, "damaged", 0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.cut(index)[1]

    def cut(self, index: int) -> tuple[TrainingPhoto, dict[str, Any]]:
        """The sample, and the photo that it is cut from."""
        photo = self.photos[self.photo_of(index)]
        rng = np.random.default_rng((self.seed, 1, index))
        window = self.crop
        if self.jitter < 1:
            window = min(round(self.crop / rng.uniform(self.jitter, 1)), *photo.pixels.shape[:2])
        top, left = (int(rng.integers(side - window + 1)) for side in photo.pixels.shape[:2])
        crop = photo.pixels[top : top + window, left : left + window]
        if window > self.crop:
            size = (self.crop, self.crop)
            crop = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.LANCZOS))
        hr = crop if isinstance(crop, Tensor) else torch.tensor(crop)  # (crop, crop, 3)
        if self.turn:
            hr = hr.rot90(int(rng.integers(4)))
        if rng.integers(2):
            hr = hr.flip(1)
        sample = {"hr": hr.permute(2, 0, 1).contiguous(), "seed": torch.tensor(int(rng.integers(2**62)))}
        return photo, sample if photo.tags is None else sample | {"tags": photo.tags}

    def to(self, device: torch.device) -> None:
        """Keep the photos on `device`, decoded, and cut there from now on; without `jitter`."""
        self.photos = [replace(photo, pixels=torch.tensor(photo.pixels, device=device)) for photo in self.photos]

    def photo_of(self, index: int) -> int:
        """Which of the photos sample `index` is cut from."""
        epoch, position = divmod(index, len(self.photos))
        return int(self._permutation(epoch)[position])

    def _draw_permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.photos))


class Squares(Sequence[TrainingPhoto]):
    """Photos stretched whole to `size` x `size` when asked for."""

    def __init__(self, photos: Sequence[TrainingPhoto], size: int):
        self.photos = photos
        self.size = size

    def __len__(self) -> int:
        return len(self.photos)

    @overload
    def __getitem__(self, index: int) -> TrainingPhoto: ...
    @overload
    def __getitem__(self, index: slice) -> "Squares": ...
    def __getitem__(self, index: int | slice) -> "TrainingPhoto | Squares":
        if isinstance(index, slice):
            return Squares(self.photos[index], self.size)
        photo = self.photos[index]
        square = Image.fromarray(photo.pixels).resize((self.size, self.size), Image.Resampling.BICUBIC)
        return TrainingPhoto(photo.name, np.asarray(square), photo.info, photo.tags)

    @property
    def damaged(self) -> int:
        """Pictures found damaged while training."""
        return getattr(self.photos, "damaged", 0)


class DegradationMix:
    """Degradations by preset name, with weights; each sample's seed draws its preset.

    Raises SeesrError for an unknown preset and for weights that are negative or all zero.
    """

    def __init__(self, weights: dict[str, float]):
        total = sum(weights.values())
        if total <= 0 or min(weights.values()) < 0:
            raise SeesrError(f"degradation: the weights {weights} are no mixture; give numbers >= 0, one of them > 0")
        self.degradations = [Degradation(preset(name)) for name in weights]
        self.shares = [weight / total for weight in weights.values()]

    def __call__(self, hr: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] and (B,) seeds -> LR (B, 3, H/4, W/4) and target (B, 3, H, W), both in [0, 1]."""
        pairs = []
        with torch.autocast(hr.device.type, enabled=False):  # pixels are made in full precision, whatever the networks'
            for image, seed in zip(hr.split(1), seeds.cpu().split(1)):
                chosen = np.random.default_rng((2, int(seed))).choice(len(self.shares), p=self.shares)
                pairs.append(self.degradations[chosen](image, seed))
        lr, target = zip(*pairs)
        return torch.cat(lr), torch.cat(target)


class Pairs(Dataset[dict[str, Any]]):
    """Crops degraded where they are loaded, so that worker processes share the work.

    Sample number -> `lr` (3, crop/4, crop/4), `target` (3, crop, crop), both in [0, 1], and what else the crop has:
    `seed` and perhaps `tags`.
    """

    def __init__(self, crops: Crops, degrade: DegradationMix):
        self.crops = crops
        self.degrade = degrade

    def __len__(self) -> int:
        """Samples of one epoch."""
        return len(self.crops.photos)

    @property
    def damaged(self) -> int:
        """Pictures found damaged while training."""
        return self.crops.damaged

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.crops[index]
        lr, target = self.degrade(sample["hr"][None].float() / 255, sample["seed"][None])
        return {"lr": lr[0], "target": target[0]} | {name: sample[name] for name in sample if name != "hr"}


class OnDevice(Dataset[dict[str, Any]]):
    """The same samples, cut and degraded on the training device instead of by the loader, which hands out numbers.

    The training loop makes each batch of its numbers, by `materialise`.

    samples: with a method `to` that moves what they are cut from, as `Crops` have; or with such samples as `crops`.
    """

    def __init__(self, samples: Any):
        self.samples = samples
        self._held = samples if hasattr(samples, "to") else samples.crops
        self._device: torch.device | None = None

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"number": torch.tensor(index)}

    def make(self, numbers: Tensor) -> dict[str, Any]:
        """The batch of these samples, (B,), on the numbers' device; what the samples are cut from moves there first."""
        if self._device != numbers.device:
            self._held.to(numbers.device)
            self._device = numbers.device
        batch = default_collate([self.samples[number] for number in numbers.tolist()])
        return {n: value.to(numbers.device) if isinstance(value, Tensor) else value for n, value in batch.items()}


def materialise(samples: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch that a training step gets: the loader's or, for `OnDevice` samples, the one its numbers name."""
    return samples.make(batch["number"]) if isinstance(samples, OnDevice) else batch


def enlarge(lr: Tensor) -> Tensor:
    """(B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w) in 8-bit steps: the bicubic kernel of Pillow, as the pipeline's."""
    enlarged = F.interpolate(lr, scale_factor=SCALE, mode="bicubic", antialias=True).clamp(0, 1)
    return (enlarged * 255).round() / 255
