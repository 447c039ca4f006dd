"""The embedded model's autoencoder, trained on photos alone; latents have an eighth of a picture's width and height.

L1 first; the perceptual terms of the enlarger's training and a discriminator join once the coarse picture is right.
Noise on the latents, and a penalty on their size, keep neighbouring latents alike (a VAE of fixed variance).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesr.data.samples import Crops, OnDevice, PhotosConfig, load_photos
from seesr.errors import SeesrError
from seesr.metrics.psnr_ssim import psnr
from seesr.models.autoencoder import FACTOR, Autoencoder
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.discriminator import Discriminator, frozen_scores
from seesr.training.loop_config import LoopConfig
from seesr.training.losses import PerceptualLoss, discriminator_hinge, generator_hinge
from seesr.training.stages.enlarger import DiscriminatorConfig

VALIDATION_CROP = 512


@dataclass(kw_only=True)
class AutoencoderLoss:
    """Weights of the terms, and the steps from which the costly ones take part."""

    l1: float = 1.0
    dists: float = 0.2
    features: float = 0.4
    perceptual_from: int = 0
    adversarial: float = 0.02
    adversarial_from: int = 10**9
    latents: float = 1e-4  # pull towards zero


@dataclass(kw_only=True)
class AutoencoderConfig(PhotosConfig, LoopConfig):
    """Config of `seesr train autoencoder`."""

    validation_photos: list[str]
    validation_samples: int = 12  # while training; all of them at the end
    start: str | None = None  # folder of an Autoencoder to start from; None: a new one
    crop: int = 128  # pixels, a multiple of 8
    latent_channels: int = 16
    channels: tuple[int, int] = (96, 160)  # at a quarter and an eighth of the resolution
    encoder_blocks: tuple[int, int] = (2, 3)
    decoder_blocks: tuple[int, int] = (3, 4)
    latent_noise: float = 0.1  # standard deviation
    loss: AutoencoderLoss = field(default_factory=AutoencoderLoss)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop <= 0 or self.crop % FACTOR:
            raise SeesrError(f"crop is {self.crop}; give a multiple of {FACTOR}")
        if self.discriminator.crop % 4 or self.discriminator.crop > self.crop:
            raise SeesrError(
                f"discriminator.crop is {self.discriminator.crop}; give a multiple of 4, at most crop ({self.crop})"
            )


class AutoencoderStage(loop.Stage):
    """Trains `modules["autoencoder"]`, and from `adversarial_from` on against `modules["discriminator"]`."""

    averaged = ("autoencoder",)

    def __init__(self, config: AutoencoderConfig):
        self.config = config
        photos = load_photos(
            config.photos, config.crop, small=config.small_photos, memory_gb=config.memory_gb, whole=config.on_device
        )
        crops = Crops(photos, config.crop, config.seed, jitter=config.scale_jitter)
        self.samples = OnDevice(crops) if config.on_device else crops
        self.validation = load_photos(config.validation_photos, VALIDATION_CROP)
        self.autoencoder = self._start()
        self.modules: dict[str, nn.Module] = {"autoencoder": self.autoencoder}
        self.perception = PerceptualLoss()
        self.frozen = {"perception": self.perception}
        self.adversarial = config.loss.adversarial > 0 and config.loss.adversarial_from < config.steps
        if self.adversarial:
            self.modules["discriminator"] = Discriminator(config.discriminator.width, config.discriminator.crop)

    def _start(self) -> Autoencoder:
        config = self.config
        if config.start is None:
            return Autoencoder(config.latent_channels, config.channels, config.encoder_blocks, config.decoder_blocks)
        try:
            return Autoencoder.from_pretrained(config.start, torch_dtype=torch.float32)
        except OSError as error:
            raise SeesrError(f"start: no Autoencoder in {config.start} ({str(error).splitlines()[0]})") from None

    def dataset(self) -> OnDevice | Crops:
        return self.samples

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        rates = {"autoencoder": learning_rate, "discriminator": self.config.discriminator.learning_rate}
        return [{"params": list(module.parameters()), "lr": rates[name]} for name, module in self.modules.items()]

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        weights = self.config.loss
        target = batch["hr"].float() / 255  # (B, 3, H, W)
        decoded, latents = self.modules["autoencoder"](target * 2 - 1, self.config.latent_noise)
        restored = decoded.float() / 2 + 0.5
        terms = {"l1": F.l1_loss(restored, target), "latents": latents.float().square().mean()}
        loss = weights.l1 * terms["l1"] + weights.latents * terms["latents"]
        if step >= weights.perceptual_from:
            perception = self.perception(restored, target)
            terms |= {"dists": perception.dists, "features": perception.features}
            loss = loss + weights.dists * perception.dists + weights.features * perception.features
            if self.adversarial and step >= weights.adversarial_from:
                discriminator = self.modules["discriminator"]
                of_restored, of_target = perception.normalised()
                terms["adversarial"] = generator_hinge(frozen_scores(discriminator, restored, of_restored))
                fake = discriminator(restored.detach(), [features.detach() for features in of_restored])
                real = discriminator(target, of_target)
                terms["discriminator"] = discriminator_hinge(real, fake)
                loss = loss + weights.adversarial * terms["adversarial"] + terms["discriminator"]
        return {"loss": loss} | terms

    @torch.no_grad()
    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        device = self.autoencoder.device
        photos = self.validation if final else self.validation[: self.config.validation_samples]
        values: dict[str, list[float]] = {"psnr_y": [], "dists": [], "latent_std": []}
        pictures: dict[str, Tensor] = {}
        for number, photo in enumerate(photos):
            pixels = photo.pixels[:VALIDATION_CROP, :VALIDATION_CROP]
            hr = torch.tensor(pixels.transpose(2, 0, 1)[None], device=device).float() / 255  # (1, 3, 512, 512)
            latents = self.autoencoder.encode(hr * 2 - 1).latent_dist.mode()
            restored = self.autoencoder.decode(latents).sample.float() / 2 + 0.5
            restored = (restored.clamp(0, 1) * 255).round() / 255
            values["psnr_y"].append(float(psnr(restored, hr)))
            values["dists"].append(float(self.perception.dists(restored, hr)))
            values["latent_std"].append(float(latents.std()))
            if number < 4:
                pictures[str(number)] = torch.cat((hr[0], restored[0]), dim=2)  # side by side
        return {name: fmean(found) for name, found in values.items()} | {"photos": len(photos)}, pictures

    def save(self, folder: Path) -> None:
        half = Autoencoder.from_config(self.autoencoder.config).half()
        half.load_state_dict(self.autoencoder.state_dict())
        half.register_to_config(scaling_factor=round(1 / self._latent_std(), 4))
        half.save_pretrained(folder)

    @torch.no_grad()
    def _latent_std(self) -> float:
        """Standard deviation of the latents of the first validation photos."""
        found = []
        for photo in self.validation[:8]:
            pixels = torch.tensor(photo.pixels[:VALIDATION_CROP, :VALIDATION_CROP].transpose(2, 0, 1)[None])
            pixels = pixels.to(self.autoencoder.device).float() / 127.5 - 1
            found.append(self.autoencoder.encode(pixels).latent_dist.mode().flatten())
        return float(torch.cat(found).std())


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the photos or a checkpoint; before the first step.
    """
    config = load_config(AutoencoderConfig, Path(config_path), overrides)
    return loop.train(lambda: AutoencoderStage(config), config)
