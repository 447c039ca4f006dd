"""Fine-tuning of the learned enlarger: pixel, texture and feature losses with a weak adversarial one.

Starts from a folder with a trained `Enlarger` (the embedded one begins as Real-ESRGAN x4plus). Each sample is degraded
afresh by a mixture of presets, so that the network sees the blur of cameras and old phones besides JPEG and noise.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seesr.data.samples import Crops, DegradationMix, OnDevice, PhotosConfig, load_photos
from seesr.degradation.defocus import defocus
from seesr.errors import SeesrError
from seesr.metrics.lpips import Lpips
from seesr.metrics.niqe import Niqe
from seesr.metrics.psnr_ssim import psnr
from seesr.models.enlargers import load_enlarger
from seesr.models.tiled_enlarger import SCALE, TiledEnlarger
from seesr.training import loop
from seesr.training.bank import Bank
from seesr.training.config import load_config
from seesr.training.discriminator import Discriminator
from seesr.training.drawings import with_drawings
from seesr.training.loop_config import LoopConfig
from seesr.training.losses import LossWeights, PerceptualLoss, restoration_loss

VALIDATION_CROP = 512
VALIDATION_SEED = 1234


@dataclass(kw_only=True)
class DiscriminatorConfig:
    """The U-Net's width and the square it sees, and the learning rate of all discriminators."""

    start: str | None = None  # folder of a whole checkpoint of this stage, whose discriminators go on learning
    width: int = 32
    crop: int = 128
    learning_rate: float = 2e-4


@dataclass(kw_only=True)
class EnlargerConfig(PhotosConfig, LoopConfig):
    """Config of `seesr train enlarger`."""

    start: str  # folder of the enlarger to start from; its config.json says which network it is
    validation_photos: list[str]
    validation_samples: int = 12  # while training; all of them at the end
    crop: int = 160  # HR pixels, a multiple of 4
    degradation: dict[str, float] = field(default_factory=lambda: {"real-esrgan": 1.0})  # preset: weight
    defocus: float = 0.0  # share of the crops that are out of focus, see `seesr.degradation.defocus`
    drawings: float = 0.0  # share of the crops that are drawn, see `seesr.training.drawings`
    bank: str | None = None  # folder of degraded crops to cut from, instead of degrading photos while training
    teacher: str | None = None  # folder of an enlarger whose pictures are the target, instead of the clean photos
    teacher_detail: float = 0.6  # where between its ends it stands
    loss: LossWeights = field(default_factory=LossWeights)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % SCALE:
            raise SeesrError(f"crop is {self.crop}; give a multiple of {SCALE}")
        if self.discriminator.crop % 4 or self.discriminator.crop > self.crop:
            raise SeesrError(
                f"discriminator.crop is {self.discriminator.crop}; give a multiple of 4, at most crop ({self.crop})"
            )
        if self.bank and self.on_device:
            raise SeesrError("a bank is read where the loader runs; leave on_device out")
        if self.loss.taught and not self.bank:
            raise SeesrError("loss.taught needs a bank whose samples a teacher has seen; give one, or set it to 0")
        shares = (("defocus", self.defocus), ("drawings", self.drawings), ("teacher_detail", self.teacher_detail))
        for name, share in shares:
            if not 0 <= share <= 1:
                raise SeesrError(f"{name} is {share}; give a share from 0 to 1")


class Degrader:
    """Prepares crops as the config says, and degrades them; each sample's seed decides."""

    def __init__(self, config: EnlargerConfig):
        self.mix = DegradationMix(config.degradation)
        self.defocus = config.defocus
        self.drawings = config.drawings

    def __call__(self, hr: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) and seeds (B,) -> degraded (B, 3, H/4, W/4) and target (B, 3, H, W), both in [0, 1]."""
        clean = defocus(hr.float() / 255, seeds, self.defocus)
        return self.mix(with_drawings(clean, seeds, self.drawings), seeds)


class EnlargerStage(loop.Stage):
    """Trains `modules["generator"]` against `modules["discriminator"]`."""

    averaged = ("generator",)

    def __init__(self, config: EnlargerConfig):
        self.config = config
        self.degrader = Degrader(config)
        self.samples = _samples(config)
        self.validation = load_photos(config.validation_photos, VALIDATION_CROP)
        generator = _load("start", config.start)
        generator.ends = None  # a calm end would belong to the weights at the start
        self.generator = generator
        self.modules = {
            "generator": generator,
            "discriminator": _discriminator(config.discriminator),
        }
        self.perception = PerceptualLoss()
        self.frozen: dict[str, nn.Module] = {"perception": self.perception}
        self.teacher = _teacher(config)
        if self.teacher:
            self.frozen["teacher"] = self.teacher

    def dataset(self) -> OnDevice | Crops | Bank:
        return self.samples

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [
            {"params": list(self.modules["generator"].parameters()), "lr": learning_rate},
            {"params": list(self.modules["discriminator"].parameters()), "lr": self.config.discriminator.learning_rate},
        ]

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        weights, discriminator = self.config.loss, self.modules["discriminator"]
        taught = None
        if isinstance(self.samples, Bank):
            lr, target = batch["lr"].float() / 255, batch["hr"].float() / 255  # (B, 3, h, w), (B, 3, 4h, 4w)
            taught = batch["taught"].float() / 255 if "taught" in batch else None
        else:
            lr, target = self.degrader(batch["hr"], batch["seed"])
        if self.teacher:
            with torch.no_grad():
                target = self.teacher.enlarge_tile(lr)
        restored = self.modules["generator"](lr)
        return restoration_loss(restored, target, weights, step, self.perception, discriminator, taught)

    @torch.no_grad()
    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        compare: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr_y": psnr, "dists": self.perception.dists}
        compare["lpips"] = Lpips()
        niqe = Niqe()
        photos = self.validation if final else self.validation[: self.config.validation_samples]
        device = next(self.generator.parameters()).device
        values: dict[str, list[float]] = {name: [] for name in (*compare, "niqe")}
        pictures: dict[str, Tensor] = {}
        for number, photo in enumerate(photos):
            pixels = photo.pixels[:VALIDATION_CROP, :VALIDATION_CROP]
            hr = torch.tensor(pixels.transpose(2, 0, 1)[None], device=device).float() / 255  # (1, 3, 512, 512)
            lr, target = self.degrader.mix(hr, torch.tensor([VALIDATION_SEED + number]))
            with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                restored = (self.generator.enlarge(lr) * 255).round() / 255
            for name, metric in compare.items():
                values[name].append(float(metric(restored, target)))
            with suppress(SeesrError):  # a flat picture, of an untrained network say, has no NIQE
                values["niqe"].append(float(niqe(restored)))
            if number < 4:
                enlarged = F.interpolate(lr, scale_factor=SCALE, mode="bicubic").clamp(0, 1)
                pictures[str(number)] = torch.cat((enlarged[0], restored[0], hr[0]), dim=2)  # side by side
        return {name: fmean(found) for name, found in values.items() if found} | {"photos": len(photos)}, pictures

    def save(self, folder: Path) -> None:
        half = type(self.generator).from_config(self.generator.config).half()
        half.load_state_dict(self.generator.state_dict())
        half.save_pretrained(folder)


def _load(key: str, folder: str, dtype: torch.dtype = torch.float32) -> TiledEnlarger:
    try:
        return load_enlarger(folder, dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise SeesrError(f"{key}: no enlarger in {folder} ({str(error).splitlines()[0]})") from None


def _teacher(config: EnlargerConfig) -> TiledEnlarger | None:
    if config.teacher is None:
        return None
    teacher = _load("teacher", config.teacher, torch.bfloat16 if config.precision == "bf16" else torch.float32)
    if teacher.ends is not None:
        teacher.ends.move(teacher, config.teacher_detail)
    return teacher.requires_grad_(False)


def _samples(config: EnlargerConfig) -> OnDevice | Crops | Bank:
    if config.bank:
        return Bank(config.bank, config.crop, config.seed)
    photos = load_photos(
        config.photos, config.crop, small=config.small_photos, memory_gb=config.memory_gb, whole=config.on_device
    )
    crops = Crops(photos, config.crop, config.seed, jitter=config.scale_jitter)
    return OnDevice(crops) if config.on_device else crops


def _discriminator(config: DiscriminatorConfig) -> Discriminator:
    discriminator = Discriminator(config.width, config.crop)
    if config.start:
        file = Path(config.start) / "model_1.safetensors"  # accelerate's name for the second of the modules
        try:
            discriminator.load_state_dict(load_file(file))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise SeesrError(f"discriminator.start: {file}: {str(error).splitlines()[0]}") from None
    return discriminator


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the photos or a checkpoint; before the first step.
    """
    config = load_config(EnlargerConfig, Path(config_path), overrides)
    return loop.train(lambda: EnlargerStage(config), config)


def evaluate(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Validation metrics of `start` as it is, over all validation photos: to compare finished weights.

    Raises:
        SeesrError: as `train`.
    """
    config = load_config(EnlargerConfig, Path(config_path), overrides)
    metrics, _ = EnlargerStage(replace(config, photos=config.validation_photos)).validate(final=True)
    return metrics
