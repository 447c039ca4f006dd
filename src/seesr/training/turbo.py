"""One step instead of fifty: the diffusion part learns to restore the LR embedding as it is, without noise.

The LR latents are taken for a noisy sample at a fixed training step; the networks' one prediction gives the restored
latents, and the decoded picture is compared with the clean one: L1, DISTS, VGG features and a weak adversarial term
(in the spirit of OSEDiff, Wu et al. 2024, arXiv 2406.08177). Starts from a folder that `prior` wrote, and learns from
the same restorations.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from seesr.errors import SeesrError
from seesr.evaluation.fullreference import psnr
from seesr.models.autoencoder import FACTOR
from seesr.pipeline import SeeSRPipeline
from seesr.training import loop, restorations
from seesr.training.config import load_config
from seesr.training.dape import VALIDATION_SEED
from seesr.training.discriminator import Discriminator
from seesr.training.enlarger import DiscriminatorConfig
from seesr.training.latents import LatentCrops, Latents, tokenize
from seesr.training.losses import LossWeights, PerceptualLoss, restoration_loss
from seesr.training.prior import PAPER_PROFILE

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TurboConfig(loop.LoopConfig):
    """Config of `seesr train turbo`."""

    model: str  # folder of a complete model
    restorations: str  # folder of restorations
    latents: str  # file of latents made of them; of several that match `*` the newest
    validation_restorations: str
    validation_latents: str
    validation_samples: int = 32
    size: int = 16  # side of the squares of latents that a step sees
    timestep: int = 250  # of 1000: what the LR latents are taken for
    drop_text: float = 0.1  # share of samples with the empty text
    loss: LossWeights = field(default_factory=LossWeights)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.timestep < 1000:
            raise SeesrError(f"timestep is {self.timestep}; give a number from 1 to 999")
        if self.discriminator.crop % 4 or self.discriminator.crop > self.size * FACTOR:
            raise SeesrError(
                f"discriminator.crop is {self.discriminator.crop}; give a multiple of 4, at most {FACTOR} * size"
            )


class TurboCrops(Dataset[dict[str, Tensor]]):
    """`LatentCrops` with the pixels under each square: `hr` and `picture` (the enlarged photo), uint8."""

    def __init__(self, crops: LatentCrops, pixels: dict[str, Tensor]):
        self.crops, self.pixels = crops, pixels

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, top, left = self.crops.place(index)
        side = self.crops.size * FACTOR
        rows, columns = slice(top * FACTOR, top * FACTOR + side), slice(left * FACTOR, left * FACTOR + side)
        cut = {name: values[number, :, rows, columns] for name, values in self.pixels.items()}
        return self.crops[index] | {"hr": cut["hr"], "picture": cut["enlarged"]}


class TurboStage(loop.Stage):
    """Trains `unet`, `controlnet` and `text_encoder` against `discriminator`."""

    averaged = ("unet", "controlnet", "text_encoder")

    def __init__(self, config: TurboConfig):
        self.config = config
        self.pipeline: Any = SeeSRPipeline.from_pretrained(config.model)
        if self.pipeline.unet is None or self.pipeline.vae is None:
            raise SeesrError(f"model: {config.model} has no diffusion part; give a folder that the stage prior wrote")
        self.no_text = tokenize(self.pipeline.tokenizer, [""])[0]
        self.training = self._crops(config.latents, config.restorations, config.seed)
        self.validation = self._crops(config.validation_latents, config.validation_restorations, VALIDATION_SEED)
        self.perception = PerceptualLoss()
        self.modules: dict[str, Any] = {name: getattr(self.pipeline, name) for name in self.averaged}
        for module in self.modules.values():
            module.requires_grad_(True).to(memory_format=torch.contiguous_format)
        self.modules["discriminator"] = Discriminator(config.discriminator.width, config.discriminator.crop)
        self.vae = self.pipeline.vae.requires_grad_(False)
        self.frozen = {"perception": self.perception, "vae": self.vae}

    def _crops(self, latents: str, folder: str, seed: int) -> TurboCrops:
        pattern = Path(latents)
        files = sorted(pattern.parent.glob(pattern.name), key=lambda file: file.stat().st_mtime)
        found, pixels = (
            Latents.load(files[-1] if files else pattern),
            restorations.read(Path(folder), ("hr", "enlarged")),
        )
        if len(found) != len(pixels["hr"]):
            raise SeesrError(f"{latents} holds {len(found)} samples, {folder} {len(pixels['hr'])}; make them anew")
        tokens = tokenize(self.pipeline.tokenizer, found.tags)
        return TurboCrops(LatentCrops(found, tokens, self.config.size, seed), pixels)

    def dataset(self) -> TurboCrops:
        return self.training

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        trained = [p for name in self.averaged for p in self.modules[name].parameters()]
        judging = list(self.modules["discriminator"].parameters())
        return [
            {"params": trained, "lr": learning_rate},
            {"params": judging, "lr": self.config.discriminator.learning_rate},
        ]

    def restore(self, batch: dict[str, Tensor], text: Tensor) -> Tensor:
        """(B, 3, 8s, 8s), nominally in [0, 1]: one step, residual decoding."""
        scheduler: Any = self.pipeline.scheduler
        lr = batch["enlarged"]  # (B, c, s, s)
        timesteps = torch.full((len(lr),), self.config.timestep, device=lr.device)
        told = {
            "encoder_hidden_states": self.modules["text_encoder"](text)[0],
            "cross_attention_kwargs": {"image_embeds": batch["image_embeds"]},
            "return_dict": False,
        }
        down, mid = self.modules["controlnet"](lr, timesteps, controlnet_cond=lr, **told)
        predicted = self.modules["unet"](
            lr, timesteps, down_block_additional_residuals=down, mid_block_additional_residual=mid, **told
        )[0].float()
        alpha_bar = scheduler.alphas_cumprod[self.config.timestep].to(lr.device)
        clean = alpha_bar.sqrt() * lr - (1 - alpha_bar).sqrt() * predicted  # of the velocity
        decoded, before = (
            self.vae.decode(latents / self.vae.config.scaling_factor).sample.float() / 2 for latents in (clean, lr)
        )
        return batch["picture"].float() / 255 + decoded - before

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        weights, discriminator = self.config.loss, self.modules["discriminator"]
        target = batch["hr"].float() / 255
        dropped = (batch["seed"] % 1000 < 1000 * self.config.drop_text)[:, None]
        restored = self.restore(batch, torch.where(dropped, self.no_text.to(target.device), batch["text"]))
        return restoration_loss(restored, target, weights, step, self.perception, discriminator)

    @torch.no_grad()
    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR-Y and DISTS of the restored squares and (`enlarged_`) of what the enlarger alone makes."""
        values: dict[str, list[float]] = {}
        pictures: dict[str, Tensor] = {}
        for number in range(self.config.validation_samples):
            batch = {name: value[None].to(self.vae.device) for name, value in self.validation[number].items()}
            target, enlarged = batch["hr"].float() / 255, batch["picture"].float() / 255
            restored = (self.restore(batch, batch["text"]).clamp(0, 1) * 255).round() / 255
            for prefix, picture in (("", restored), ("enlarged_", enlarged)):
                values.setdefault(f"{prefix}psnr_y", []).append(float(psnr(picture, target)))
                values.setdefault(f"{prefix}dists", []).append(float(self.perception.dists(picture, target)))
            if number < 4:
                pictures[str(number)] = torch.cat((enlarged[0], restored[0], target[0]), dim=2)  # side by side
        return {name: fmean(found) for name, found in values.items()}, pictures

    def save(self, folder: Path) -> None:
        """The complete model, with a profile `turbo`."""
        profile = PAPER_PROFILE.with_overrides(
            num_inference_steps=1,
            start_point="lr-clean",
            start_timestep=self.config.timestep,
            color_fix="none",
            fidelity=0.0,
        )
        profiles = dict(self.pipeline.config.profiles) | {"turbo": profile.to_dict()}
        self.pipeline.register_to_config(profiles=profiles)
        self.pipeline.save_pretrained(folder)


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the model, the restorations or a checkpoint; before the first step.
    """
    config = load_config(TurboConfig, Path(config_path), overrides)
    return loop.train(lambda: TurboStage(config), config)
