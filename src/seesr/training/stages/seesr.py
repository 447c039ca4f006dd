"""Stage 2: ControlNet and representation cross-attention learn to restore with a frozen text-to-image model (SeeSR,
section 3.3).

    clean photo → RAM → tags → text tower ──────────────┐
        └→ VAE → latents, noised to a random step ──→ UNet + RCA → noise (or velocity)
    degraded photo → DAPE → representation embedding ───┤
        └→ enlarged ────────────────────────→ ControlNet + RCA

At the start RCA adds nothing and the ControlNet's output is zero, so the first step's UNet is the base model exactly.
"""

import inspect
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ControlNetModel
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from seesr.checkpoints.files import find_weights, load_strictly, read_json, read_state_dict
from seesr.checkpoints.model_folder import class_name
from seesr.data.samples import (
    VALIDATION_SEED,
    Crops,
    DegradationMix,
    OnDevice,
    Pairs,
    PhotosConfig,
    enlarge,
    load_photos,
)
from seesr.data.tag_files import tagger_hash
from seesr.errors import SeesrError
from seesr.loading import tagger_from_folder
from seesr.models.dape import plain_ram
from seesr.models.lora import lora_layers
from seesr.models.semantic_attention import (
    SemanticControlNet,
    SemanticUNet,
    image_attention_parameters,
    zero_init_image_attentions,
)
from seesr.models.tagger import Tagger
from seesr.photos.pictures import to_pil, to_tensor
from seesr.pipeline import SeeSRPipeline
from seesr.restoration.schedulers import make_scheduler
from seesr.tiling.geometry import LATENT_FACTOR
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.loop_config import LoopConfig

logger = logging.getLogger(__name__)

_PARTS = ("vae", "text_encoder", "tokenizer", "scheduler", "tagger", "unet", "controlnet")


@dataclass(kw_only=True)
class SeesrConfig(PhotosConfig, LoopConfig):
    """Config of `seesr train seesr`."""

    model: str  # folder of Stable Diffusion 2-base, or of a SeeSR
    tagger: str | None = None  # folder with the tagger of stage 1; None: that of `model`
    fresh: bool = True  # start RCA and ControlNet as the paper does; false: keep those of `model`
    validation_photos: list[str]
    validation_samples: int = 64  # while training; all of them at the end
    validation_pictures: int = 4  # of the samples, restored
    validation_inference_steps: int = 20
    crop: int = 512  # HR pixels, a multiple of 8
    degradation: dict[str, float] = field(default_factory=lambda: {"seesr": 1.0})  # preset: weight
    train_unet: Literal["rca", "all"] = "rca"
    tags: Literal["crop", "photo"] = "crop"  # seen on each crop, or once on the whole photo (by `seesr data tag`)
    drop_text: float = 0.5  # share of samples with the empty text
    drop_conditions: float = 0.0  # share of samples with neither ControlNet nor representation embedding
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop <= 0 or self.crop % LATENT_FACTOR:
            raise SeesrError(f"crop is {self.crop}; give a multiple of {LATENT_FACTOR}")
        for key in ("drop_text", "drop_conditions"):
            if not 0 <= getattr(self, key) <= 1:
                raise SeesrError(f"{key} is {getattr(self, key)}; give a share from 0 to 1")


@dataclass(frozen=True)
class Draws:
    """The random draws of B samples, each from its own seed."""

    timesteps: Tensor  # (B,), uniform
    noise: Tensor  # (B, c, h, w), unit normal: what is added to the latents
    posterior: Tensor  # (B, c, h, w), unit normal: where in the VAE's posterior the latents lie
    text: Tensor  # (B,) in [0, 1): below `drop_text` the text is dropped
    conditions: Tensor  # (B,) in [0, 1), likewise


class SeesrStage(loop.Stage):
    """Trains `modules["controlnet"]` and, of `modules["unet"]`, RCA or everything."""

    averaged = ("unet", "controlnet")

    def __init__(self, config: SeesrConfig):
        self.config = config
        self.pipeline = starting_pipeline(config)
        self.vae = cast(AutoencoderKL, self.pipeline.vae)
        self.tagger = cast(Tagger, self.pipeline.tagger)
        degrade = DegradationMix(config.degradation)
        tagger = tagger_hash(self.tagger) if config.tags == "photo" else None
        photos = load_photos(
            config.photos,
            config.crop,
            small=config.small_photos,
            memory_gb=config.memory_gb,
            tagger=tagger,
            whole=config.on_device,
        )
        validation = load_photos(config.validation_photos, config.crop, memory_gb=config.memory_gb)
        self.pairs = Pairs(Crops(photos, config.crop, config.seed, turn=False, jitter=config.scale_jitter), degrade)
        self.samples = OnDevice(self.pairs) if config.on_device else self.pairs
        self.validation = Pairs(Crops(validation, config.crop, VALIDATION_SEED, turn=False), degrade)
        unet, controlnet = cast(SemanticUNet, self.pipeline.unet), cast(SemanticControlNet, self.pipeline.controlnet)
        for network in (self.vae, self.tagger, cast(nn.Module, self.pipeline.text_encoder)):
            network.eval().requires_grad_(False)
        if config.train_unet == "rca":
            unet.requires_grad_(False)
            for parameter in image_attention_parameters(unet).values():
                parameter.requires_grad_(True)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
            controlnet.enable_gradient_checkpointing()
        self.modules = {"unet": unet, "controlnet": controlnet}
        self.frozen = {"vae": self.vae, "tagger": self.tagger, "text_encoder": self.pipeline.text_encoder}

    def dataset(self) -> OnDevice | Pairs:
        return self.samples

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """One group, so that the gradient is clipped as a whole."""
        trained = [p for module in self.modules.values() for p in module.parameters() if p.requires_grad]
        return [{"params": trained, "lr": learning_rate}]

    def training_step(self, batch: dict[str, Any], step: int) -> dict[str, Tensor]:
        return {"loss": self._loss(batch, self.config.drop_text, self.config.drop_conditions)}

    def _loss(self, batch: dict[str, Any], drop_text: float, drop_conditions: float) -> Tensor:
        """Mean squared error of the predicted noise (or velocity) of B samples as `Pairs` makes them."""
        target, enlarged = batch["target"], enlarge(batch["lr"])  # both (B, 3, H, W)
        scheduler = cast(Any, self.pipeline.scheduler)
        with torch.no_grad():
            posterior = self.vae.encode(target * 2 - 1).latent_dist
            draws = self.draw(batch["seed"], posterior.mean.shape[1:])
            kept = (draws.conditions >= drop_conditions).float()
            latents = (posterior.mean + posterior.std * draws.posterior) * self.vae.config.scaling_factor
            tags = batch["tags"] if "tags" in batch else self.see_tags(target)
            # a comma after the last tag, as published
            texts = [f"{text}," if keep else "" for text, keep in zip(tags, draws.text >= drop_text)]
            prompt_embeds = self.pipeline.encode_prompts(texts)  # (B, 77, d)
            seen = {"image_embeds": self.see_degraded(enlarged) * kept[:, None, None]}
            noisy = scheduler.add_noise(latents, draws.noise, draws.timesteps)
            wanted = draws.noise
            if scheduler.config.prediction_type == "v_prediction":
                wanted = scheduler.get_velocity(latents, draws.noise, draws.timesteps)
        down, mid = self.modules["controlnet"](
            noisy,
            draws.timesteps,
            encoder_hidden_states=prompt_embeds,
            controlnet_cond=enlarged,
            cross_attention_kwargs=seen,
            return_dict=False,
        )
        predicted = self.modules["unet"](
            noisy,
            draws.timesteps,
            encoder_hidden_states=prompt_embeds,
            cross_attention_kwargs=seen,
            down_block_additional_residuals=[residual * kept[:, None, None, None] for residual in down],
            mid_block_additional_residual=mid * kept[:, None, None, None],
            return_dict=False,
        )[0]
        return F.mse_loss(predicted.float(), wanted.float())

    def draw(self, seeds: Tensor, shape: Iterable[int]) -> Draws:
        """Draws for samples with latents of `shape` (c, h, w), by their seeds (B,), on the device of `seeds`."""
        steps = cast(Any, self.pipeline.scheduler).config.num_train_timesteps
        timesteps, noise, chances = [], [], []
        for seed in seeds.tolist():
            rng = np.random.default_rng((3, seed))
            timesteps.append(int(rng.integers(steps)))
            chances.append(torch.from_numpy(rng.random(2)))
            noise.append(torch.from_numpy(rng.standard_normal((2, *shape), dtype=np.float32)))
        added, posterior = torch.stack(noise, 1).to(seeds.device)
        text, conditions = torch.stack(chances, 1).to(seeds.device)
        return Draws(torch.tensor(timesteps, device=seeds.device), added, posterior, text, conditions)

    def see_tags(self, target: Tensor) -> list[str]:
        """The hard prompt: tags that plain RAM sees in clean photos (B, 3, H, W) in [0, 1], as one text each."""
        with torch.no_grad(), plain_ram(self.tagger):
            logits = self.tagger(self.tagger.preprocess(target)).logits
        return [", ".join(tag.name for tag in self.tagger.tags_on(row)) for row in logits]

    def see_degraded(self, enlarged: Tensor) -> Tensor:
        """The soft prompt: DAPE's representation embedding (B, n, d) of enlarged photos (B, 3, H, W) in [0, 1]."""
        size = (self.tagger.config.image_size, self.tagger.config.image_size)
        small = F.interpolate(enlarged, size, mode="bicubic").clamp(0, 1)  # as published: no low-pass
        with torch.no_grad():
            image_embeds: Tensor = self.tagger(self.tagger.preprocess(small)).image_embeds
        return image_embeds

    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Loss at fixed draws, nothing dropped; pictures: enlarged, restored and clean side by side."""
        count = len(self.validation) if final else min(self.config.validation_samples, len(self.validation))
        losses: list[float] = []
        pictures: dict[str, Tensor] = {}
        for number in range(count):
            sample = {name: value[None].to(self.vae.device) for name, value in self.validation[number].items()}
            losses.append(float(self._loss(sample, 0.0, 0.0)))
            if number < self.config.validation_pictures:
                restored = self.pipeline(
                    to_pil(sample["lr"]),
                    process_size=self.config.crop,
                    num_inference_steps=self.config.validation_inference_steps,
                ).images[0]
                row = enlarge(sample["lr"]).cpu(), to_tensor(restored), sample["target"].cpu()
                pictures[str(number)] = torch.cat(row, dim=3)[0]
        return {"loss": fmean(losses), "photos": count}, pictures

    def save(self, folder: Path) -> None:
        self.pipeline.save_pretrained(folder)
        # older releases of transformers need the files that newer ones do not write
        shutil.copytree(Path(self.config.model) / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)


def starting_pipeline(config: SeesrConfig) -> SeeSRPipeline:
    """All networks, in float32 and as they are before the first step.

    Raises:
        SeesrError: a part is missing, damaged or does not fit the others.
    """
    folder = Path(config.model)
    if not folder.is_dir():
        raise SeesrError(f"model: there is no folder {folder}; give that of Stable Diffusion 2-base or of a SeeSR")
    index = folder / "model_index.json"
    is_seesr = index.is_file() and class_name(read_json(index)) == SeeSRPipeline.__name__
    if not is_seesr and not config.fresh:
        raise SeesrError(f"fresh: {folder} is not a SeeSR model to continue from; set fresh to true")
    if not is_seesr and config.tagger is None:
        raise SeesrError(f"tagger: {folder} has none; give the folder that stage 1 made")
    tagger = tagger_from_folder(Path(config.tagger or config.model))
    if not lora_layers(tagger):
        logger.warning("the tagger is plain RAM: it has no factors of DAPE (stage 1)")
    parts: dict[str, Any] = {"tagger": tagger}
    if config.fresh:
        parts["unet"] = base_unet(folder / "unet", tagger.config.image_embed_dim)
        parts["controlnet"] = controlnet_of(parts["unet"])
    if is_seesr:
        pipeline = SeeSRPipeline.from_pretrained(str(folder))
        pipeline.register_modules(**parts)
    else:
        pipeline = SeeSRPipeline(**parts, **_load_base(folder))
    _check(pipeline, folder)
    for network in (pipeline.unet, pipeline.controlnet):
        network.to(memory_format=torch.contiguous_format)  # what files hold
    return pipeline


def base_unet(folder: Path, image_embed_dim: int) -> SemanticUNet:
    """The UNet of a text-to-image model with new RCA that adds nothing yet; RCA that it already has is left out."""
    weights = find_weights(folder)
    own = {"image_embed_dim": image_embed_dim, "use_image_cross_attention": True}
    unet = cast(SemanticUNet, SemanticUNet.from_config(read_json(folder / "config.json") | own))
    zero_init_image_attentions(unet)
    added = {name: parameter.detach() for name, parameter in image_attention_parameters(unet).items()}
    base = {name: t.float() for name, t in read_state_dict(weights).items() if ".image_attentions." not in name}
    load_strictly(unet, base | added, weights)
    return unet


def controlnet_of(unet: SemanticUNet) -> SemanticControlNet:
    """A ControlNet that is a copy of the encoder of `unet`, RCA included; its output is zero (arXiv 2302.05543)."""
    known = {*inspect.signature(ControlNetModel.__init__).parameters, "image_embed_dim"}
    controlnet = SemanticControlNet(**{name: value for name, value in unet.config.items() if name in known})
    for name in ("conv_in", "time_embedding", "down_blocks", "mid_block"):
        getattr(controlnet, name).load_state_dict(getattr(unet, name).state_dict())
    return controlnet


def _load_base(folder: Path) -> dict[str, Any]:
    """Frozen parts of a Stable Diffusion folder."""
    try:
        return {
            "vae": AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32),
            "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            "scheduler": make_scheduler("ddpm", read_json(folder / "scheduler" / "scheduler_config.json")),
        }
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SeesrError(f"{folder}: no Stable Diffusion that can be loaded ({reason})") from error


def _check(pipeline: SeeSRPipeline, folder: Path) -> None:
    missing = [name for name in _PARTS if getattr(pipeline, name) is None]
    if missing:
        raise SeesrError(f"{folder}: has no {', '.join(missing)}; give the folder of a complete model")
    unet, scheduler = pipeline.unet.config, pipeline.scheduler.config
    for ours, theirs, what in (
        (pipeline.text_encoder.config.hidden_size, unet.cross_attention_dim, "text tower"),
        (pipeline.vae.config.latent_channels, unet.in_channels, "VAE"),
        (cast(Any, pipeline.tagger).config.image_embed_dim, unet.image_embed_dim, "tagger"),
    ):
        if ours != theirs:
            raise SeesrError(
                f"{folder}: its {what} has width {ours}, the UNet expects {theirs}; they are of different models"
            )
    if scheduler.prediction_type not in ("epsilon", "v_prediction"):
        raise SeesrError(f"{folder}: the scheduler's prediction_type is {scheduler.prediction_type}; use epsilon or v")


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the photos, the model or a checkpoint; before the first step.
    """
    config = load_config(SeesrConfig, Path(config_path), overrides)
    return loop.train(lambda: SeesrStage(config), config)
