"""One or a few steps instead of fifty: the diffusion part learns to restore the LR embedding as it is, without noise.

The LR latents are taken for a noisy sample at a fixed training step; the networks' prediction gives the restored
latents, and the decoded picture is compared with the clean one: L1, DISTS, VGG features and a weak adversarial term
(in the spirit of OSEDiff, Wu et al. 2024, arXiv 2406.08177). With several sampling steps, a training step draws one of
them: the steps before it run as in sampling, without gradients, and the loss compares its restored latents. So each
step learns on the real output of the one before. All weights are trained, or LoRA factors of the linear layers of UNet
and ControlNet, which are merged into the saved weights. Starts from a folder that `prior` wrote, and learns from the
same restorations.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seesr.data.samples import VALIDATION_SEED, OnDevice
from seesr.errors import SeesrError
from seesr.metrics.psnr_ssim import psnr
from seesr.models.autoencoder import FACTOR
from seesr.models.lora import adapt, folded_state_dict, lora_layers
from seesr.pipeline import SeeSRPipeline
from seesr.restoration.sampling import set_timesteps
from seesr.restoration.schedulers import make_scheduler
from seesr.training import loop, restorations
from seesr.training.config import load_config
from seesr.training.discriminator import Discriminator
from seesr.training.latents import LatentCrops, Latents, newest, tokenize
from seesr.training.loop_config import LoopConfig
from seesr.training.losses import LossWeights, PerceptualLoss, restoration_loss
from seesr.training.stages.enlarger import DiscriminatorConfig
from seesr.training.stages.prior import DIFFUSION_PROFILE

logger = logging.getLogger(__name__)

EVERY_LAYER = re.compile(".*")  # linear ones and 1x1 convolutions


@dataclass(kw_only=True)
class TurboConfig(LoopConfig):
    """Config of `seesr train turbo`."""

    model: str  # folder of a complete model
    restorations: str  # folder of restorations
    latents: str  # file of latents made of them; of several that match `*` the newest
    validation_restorations: str
    validation_latents: str
    validation_samples: int = 32
    size: int = 16  # side of the squares of latents that a step sees
    timestep: int = 250  # of 1000: what the LR latents are taken for
    inference_steps: int = 1  # sampling steps, evenly from `timestep` down
    lora_rank: int = 0  # of factors in UNet and ControlNet, trained instead of the weights; 0: all weights are trained
    drop_text: float = 0.1  # share of samples with the empty text
    on_device: bool = False  # latents and pixels live on the training device, and are cut there; for `workers: 0`
    loss: LossWeights = field(default_factory=LossWeights)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.timestep < 1000:
            raise SeesrError(f"timestep is {self.timestep}; give a number from 1 to 999")
        if not 0 < self.inference_steps <= self.timestep:
            raise SeesrError(f"inference_steps is {self.inference_steps}; give a number from 1 to {self.timestep}")
        if self.lora_rank < 0:
            raise SeesrError(f"lora_rank is {self.lora_rank}; give 0 or the rank of the factors")
        if self.on_device and self.workers:
            raise SeesrError("on_device cuts the latents in the training step: set workers to 0")
        if self.discriminator.crop % 4 or self.discriminator.crop > self.size * FACTOR:
            raise SeesrError(
                f"discriminator.crop is {self.discriminator.crop}; give a multiple of 4, at most {FACTOR} * size"
            )


class TurboCrops(Dataset[dict[str, Tensor]]):
    """`LatentCrops` with the pixels under each square: `hr` and `picture` (the enlarged photo), uint8."""

    def __init__(self, crops: LatentCrops, pixels: dict[str, Tensor]):
        self.crops, self.pixels = crops, pixels

    def to(self, device: torch.device) -> None:
        """Keep latents and pixels on `device`, and cut there from now on."""
        self.crops.to(device)
        self.pixels = {name: values.to(device) for name, values in self.pixels.items()}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, top, left = self.crops.place(index)
        side = self.crops.size * FACTOR
        rows, columns = slice(top * FACTOR, top * FACTOR + side), slice(left * FACTOR, left * FACTOR + side)
        cut = {name: values[number, :, rows, columns] for name, values in self.pixels.items()}
        return self.crops[index] | {"hr": cut["hr"], "picture": cut["enlarged"]}


class TurboStage(loop.Stage):
    """Trains `unet` and `controlnet` and, without LoRA, `text_encoder`, against `discriminator`."""

    def __init__(self, config: TurboConfig):
        self.config = config
        self.pipeline: Any = SeeSRPipeline.from_pretrained(config.model)
        if self.pipeline.unet is None or self.pipeline.vae is None:
            raise SeesrError(f"model: {config.model} has no diffusion part; give a folder that the stage prior wrote")
        self.no_text = tokenize(self.pipeline.tokenizer, [""])[0]
        samples = self._crops(config.latents, config.restorations, config.seed)
        self.samples = OnDevice(samples) if config.on_device else samples
        self.validation = self._crops(config.validation_latents, config.validation_restorations, VALIDATION_SEED)
        self.perception = PerceptualLoss()
        self.averaged = ("unet", "controlnet") if config.lora_rank else ("unet", "controlnet", "text_encoder")
        self.modules: dict[str, Any] = {name: getattr(self.pipeline, name) for name in self.averaged}
        for module in self.modules.values():
            module.requires_grad_(not config.lora_rank).to(memory_format=torch.contiguous_format)
            if config.lora_rank:
                adapt(module, EVERY_LAYER, config.lora_rank, scale=1.0)
        self.modules["discriminator"] = Discriminator(config.discriminator.width, config.discriminator.crop)
        self.vae = self.pipeline.vae.requires_grad_(False)
        self.frozen = {"perception": self.perception, "vae": self.vae}
        if config.lora_rank:
            self.frozen["text_encoder"] = self.pipeline.text_encoder.requires_grad_(False)
        self.profile = DIFFUSION_PROFILE.with_overrides(
            scheduler="ddpm",  # whose steps tell the clean latents that they lead to
            num_inference_steps=config.inference_steps,
            start_point="lr-clean",
            start_timestep=config.timestep,
            color_fix="none",
            fidelity=0.0,
        )
        self.scheduler = make_scheduler(self.profile.scheduler, self.pipeline.scheduler.config)
        set_timesteps(self.scheduler, config.inference_steps, config.timestep, torch.device("cpu"))

    def _crops(self, latents: str, folder: str, seed: int) -> TurboCrops:
        found, pixels = Latents.load(newest(latents)), restorations.read(Path(folder), ("hr", "enlarged"))
        if len(found) != len(pixels["hr"]):
            raise SeesrError(f"{latents} holds {len(found)} samples, {folder} {len(pixels['hr'])}; make them again")
        tokens = tokenize(self.pipeline.tokenizer, found.tags)
        return TurboCrops(LatentCrops(found, tokens, self.config.size, seed), pixels)

    def dataset(self) -> OnDevice | TurboCrops:
        return self.samples

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        trained = [p for name in self.averaged for p in self.modules[name].parameters() if p.requires_grad]
        judging = list(self.modules["discriminator"].parameters())
        return [
            {"params": trained, "lr": learning_rate},
            {"params": judging, "lr": self.config.discriminator.learning_rate},
        ]

    def restore(self, batch: dict[str, Tensor], text: Tensor, last: int) -> Tensor:
        """(B, 3, 8s, 8s), nominally in [0, 1]: what the sampling steps 0 … `last` make, by residual decoding."""
        lr = latents = batch["enlarged"]  # (B, c, s, s)
        text_encoder = self.modules.get("text_encoder", self.pipeline.text_encoder)
        told = {
            "encoder_hidden_states": text_encoder(text)[0],
            "cross_attention_kwargs": {"image_embeds": batch["image_embeds"]},
            "return_dict": False,
        }
        generators = [torch.Generator().manual_seed(seed) for seed in batch["seed"].tolist()]
        for number, timestep in enumerate(self.scheduler.timesteps[: last + 1].tolist()):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number == last):
                predicted = self._predict(latents, lr, timestep, told)
            stepped = self.scheduler.step(predicted, timestep, latents, generator=generators)
            latents, clean = stepped.prev_sample, stepped.pred_original_sample
        decoded, before = (
            self.vae.decode(latents / self.vae.config.scaling_factor).sample.float() / 2 for latents in (clean, lr)
        )
        restored: Tensor = batch["picture"].float() / 255 + decoded - before
        return restored

    def _predict(self, latents: Tensor, lr: Tensor, timestep: int, told: dict[str, Any]) -> Tensor:
        timesteps = torch.full((len(lr),), timestep, device=lr.device)
        down, mid = self.modules["controlnet"](latents, timesteps, controlnet_cond=lr, **told)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        predicted: Tensor = self.modules["unet"](latents, timesteps, **residuals, **told)[0]
        return predicted.float()

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        weights, discriminator = self.config.loss, self.modules["discriminator"]
        target = batch["hr"].float() / 255
        dropped = (batch["seed"] % 1000 < 1000 * self.config.drop_text)[:, None]
        text = torch.where(dropped, self.no_text.to(target.device), batch["text"])
        last = int(np.random.default_rng((self.config.seed, 8, step)).integers(self.config.inference_steps))
        restored = self.restore(batch, text, last)
        return restoration_loss(restored, target, weights, step, self.perception, discriminator)

    @torch.no_grad()
    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR-Y and DISTS of the restored squares and (`enlarged_`) of what the enlarger alone makes."""
        values: dict[str, list[float]] = {}
        pictures: dict[str, Tensor] = {}
        for number in range(self.config.validation_samples):
            batch = {name: value[None].to(self.vae.device) for name, value in self.validation[number].items()}
            target, enlarged = batch["hr"].float() / 255, batch["picture"].float() / 255
            restored = (
                self.restore(batch, batch["text"], self.config.inference_steps - 1).clamp(0, 1) * 255
            ).round() / 255
            for prefix, picture in (("", restored), ("enlarged_", enlarged)):
                values.setdefault(f"{prefix}psnr_y", []).append(float(psnr(picture, target)))
                values.setdefault(f"{prefix}dists", []).append(float(self.perception.dists(picture, target)))
            if number < 4:
                pictures[str(number)] = torch.cat((enlarged[0], restored[0], target[0]), dim=2)  # side by side
        return {name: fmean(found) for name, found in values.items()}, pictures

    def save(self, folder: Path) -> None:
        """The complete model, with a profile `turbo`."""
        profiles = dict(self.pipeline.config.profiles) | {"turbo": self.profile.to_dict()}
        self.pipeline.register_to_config(profiles=profiles)
        adapted = {name: getattr(self.pipeline, name) for name in self.averaged}
        self.pipeline.register_modules(**{name: _plain(module) for name, module in adapted.items()})
        self.pipeline.save_pretrained(folder)
        self.pipeline.register_modules(**adapted)


def _plain(module: Any) -> Any:
    """The same network with its LoRA factors merged into the weights."""
    if not lora_layers(module):
        return module
    plain = type(module).from_config(module.config)
    plain.load_state_dict(folded_state_dict(module))
    return plain


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the model, the restorations or a checkpoint; before the first step.
    """
    config = load_config(TurboConfig, Path(config_path), overrides)
    return loop.train(lambda: TurboStage(config), config)
