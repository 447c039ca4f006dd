"""The diffusion part of a model trained from scratch: UNet, ControlNet, RCA and text tower together, on latents.

Where there is no Stable Diffusion to build on, the text-to-image prior and the restoration are learned at once:
text is dropped from half the samples (for guidance), ControlNet and representation embedding from some (the prior
alone). The target is the velocity (Salimans & Ho 2022, arXiv 2202.00512), its loss weighted by Min-SNR (Hang et al.
2023, arXiv 2303.09556).
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.utils.data import default_collate
from transformers import CLIPTokenizer

from seesr.data.samples import VALIDATION_SEED, OnDevice, load_photos
from seesr.devices import choose_device, choose_dtype
from seesr.errors import SeesrError
from seesr.loading import tagger_from_folder
from seesr.models.autoencoder import FACTOR, Autoencoder
from seesr.models.enlarger import Enlarger
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet, draw_text_attentions_anew
from seesr.models.text import TextTower, text_tower
from seesr.pipeline import SeeSRPipeline
from seesr.restoration.profiles import ENLARGER_ONLY
from seesr.restoration.settings import Settings
from seesr.training import loop, restorations
from seesr.training.config import load_config
from seesr.training.latents import LatentCrops, Latents, encode, parts_of_tags, tokenize
from seesr.training.loop_config import LoopConfig
from seesr.training.stages.text import WIDTH, own_tokenizer

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class PriorConfig(LoopConfig):
    """Config of `seesr train prior`."""

    enlarger: str  # folders of the frozen parts
    vae: str
    tagger: str
    photos: list[str]  # folders or shards
    validation_photos: list[str]
    small_photos: Literal["error", "skip"] = "error"  # those smaller than the crop
    start: str | None = None  # folder of a model whose UNet, ControlNet and text tower are trained further
    text: str | None = None  # folder that the stage text wrote: its tower is read and not trained
    text_attention_only: bool = False  # new random weights for the attention to the text, which alone is trained
    samples: int = 2000  # restorations to learn from, made once
    validation_samples: int = 64
    validation_draws: int = 128  # squares and noise that the validation loss is the mean over
    crop: int = 256  # HR pixels of a restoration, a multiple of 8
    scale_jitter: float = 1.0  # below 1: restorations of windows up to 1 / scale_jitter times as wide, reduced
    size: int = 16  # side of the squares of latents that a step sees
    degradation: dict[str, float] = field(default_factory=lambda: {"real-esrgan": 1.0})  # preset: weight
    channels: list[int] = field(default_factory=lambda: [64, 96, 160])  # of the UNet's levels
    heads: list[int] = field(default_factory=lambda: [4, 4, 5])
    drop_text: float = 0.5  # share of samples with the empty text
    drop_tags: float = 0.0  # share of the single tags left out of the others, so that no list stands for one photo
    drop_conditions: float = 0.15  # share of samples with neither ControlNet nor representation embedding
    drop_embedding: float = 0.0  # share of the others without the representation embedding
    snr_gamma: float = 5.0
    on_device: bool = False  # the latents live on the training device, and are cut there; for `workers: 0`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % FACTOR or self.size * FACTOR > self.crop:
            raise SeesrError(f"crop is {self.crop}; give a multiple of {FACTOR}, at least {FACTOR} * size")
        if len(self.heads) != len(self.channels):
            raise SeesrError(f"heads has {len(self.heads)} entries, channels {len(self.channels)}; give one a level")
        if not 0 < self.scale_jitter <= 1:
            raise SeesrError(f"scale_jitter is {self.scale_jitter}; give a number above 0, at most 1")
        if self.text_attention_only and not (self.start and self.text):
            raise SeesrError("text_attention_only is for a model that has learned all else: give start and text")
        if self.on_device and self.workers:
            raise SeesrError("on_device cuts the latents in the training step: set workers to 0")
        if self.validation_draws <= 0:
            raise SeesrError(f"validation_draws is {self.validation_draws}; give a number above 0")
        for key in ("drop_text", "drop_tags", "drop_conditions", "drop_embedding"):
            if not 0 <= getattr(self, key) <= 1:
                raise SeesrError(f"{key} is {getattr(self, key)}; give a share from 0 to 1")


class PriorStage(loop.Stage):
    """Trains `unet`, `controlnet` and, unless it comes from the stage `text`, `text_encoder`."""

    def __init__(self, config: PriorConfig):
        self.config = config
        self.folder = Path(config.output)
        self.enlarger = Enlarger.from_pretrained(config.enlarger, torch_dtype=torch.float32)
        self.vae: Any = Autoencoder.from_pretrained(config.vae, torch_dtype=torch.float32).eval()
        self.tagger: Any = tagger_from_folder(Path(config.tagger))
        self.training = self._latents("train", config.photos, config.samples, config.seed)
        self.validation = self._latents(
            "validation", config.validation_photos, config.validation_samples, VALIDATION_SEED
        )
        start = _start(config.start) if config.start else None
        self.text_encoder: Any = None
        if config.text:
            self.tokenizer, self.text_encoder = _text(Path(config.text))
        elif start:
            self.tokenizer = start.tokenizer
        else:
            self.tokenizer = own_tokenizer(self.tagger.config.tags, self.folder / "tokenizer")
        self.no_text = tokenize(self.tokenizer, [""])[0]
        self.scheduler = DDPMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            prediction_type="v_prediction",
            clip_sample=False,
        )
        if start is None:
            self.modules = new_networks(config, self.vae.config.latent_channels, self.tagger.config.image_embed_dim)
            if not config.text:
                self.modules["text_encoder"] = text_tower(self.tokenizer, WIDTH)
        else:
            names = ("unet", "controlnet") if config.text else ("unet", "controlnet", "text_encoder")
            self.modules = {name: getattr(start, name).requires_grad_(True) for name in names}
            for module in self.modules.values():
                module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if config.text_attention_only:
            for module in self.modules.values():
                module.requires_grad_(False)
                for parameter in draw_text_attentions_anew(module):
                    parameter.requires_grad_(True)
        self.averaged = tuple(self.modules)
        for name in ("unet", "controlnet"):  # with so few tokens the fused attention is the slower to train
            cast(Any, self.modules[name]).set_attn_processor(AttnProcessor())
        self.frozen = {"text_encoder": self.text_encoder} if config.text else {}
        samples = self._crops(self.training)
        self.samples = OnDevice(samples) if config.on_device else samples

    def _crops(self, latents: Latents) -> LatentCrops:
        """What a step learns from."""
        config = self.config
        texts = parts_of_tags(latents.tags, config.drop_tags, config.seed)
        tokens = tokenize(self.tokenizer, texts).unflatten(0, (len(latents), -1))
        return LatentCrops(latents, tokens, config.size, config.seed)

    def _latents(self, name: str, photos: list[str], samples: int, seed: int) -> Latents:
        """Latents of the first `samples` restorations; both are made where missing, and kept."""
        config = self.config
        hashes = [_hash(Path(folder)) for folder in (config.enlarger, config.vae, config.tagger)]
        device = choose_device()
        dtype = choose_dtype("auto", device)
        folder = self.folder / f"restorations-{name}"
        shards = range(restorations.count(samples))
        if len(list(folder.glob("shard-*.safetensors"))) < len(shards):
            found = load_photos(photos, config.crop, small=config.small_photos)
            settings = restorations.RestorationSettings(
                config.crop, seed, config.degradation, len(found), hashes[0], config.scale_jitter
            )
            restorations.fill(folder, found, settings, self.enlarger.to(device), shards, dtype=dtype)
            self.enlarger.to("cpu")
        count = len(list(folder.glob("shard-*.safetensors")))
        file = self.folder / f"latents-{name}-{count}-{hashes[1][:8]}-{hashes[2][:8]}.safetensors"
        if not file.is_file():
            logger.info("encoding the %s samples", name)
            encode(folder, self.vae.to(device), self.tagger.to(device), dtype).save(file)
        return Latents.load(file)

    def dataset(self) -> OnDevice | LatentCrops:
        return self.samples

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """One group, so that the gradient is clipped as a whole."""
        parameters = [p for module in self.modules.values() for p in module.parameters() if p.requires_grad]
        return [{"params": parameters, "lr": learning_rate}]

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        config = self.config
        return {"loss": self.losses(batch, config.drop_text, config.drop_conditions, config.drop_embedding).mean()}

    def losses(
        self, batch: dict[str, Tensor], drop_text: float, drop_conditions: float, drop_embedding: float = 0.0
    ) -> Tensor:
        """Loss of each sample, (B,); the shares are of samples that lack an input."""
        clean, enlarged = batch["clean"], batch["enlarged"]  # (B, c, h, w)
        timesteps, noise, chances = self._draw(batch["seed"], clean.shape[1:])
        text = torch.where((chances[0] >= drop_text)[:, None], batch["text"], self.no_text.to(clean.device))
        kept = (chances[1] >= drop_conditions).float()[:, None, None]  # (B, 1, 1)
        prompt_embeds = self.modules.get("text_encoder", self.text_encoder)(text)[0]  # (B, 77, d)
        seen = {"image_embeds": batch["image_embeds"] * kept * (chances[2] >= drop_embedding)[:, None, None]}
        scheduler: Any = self.scheduler
        noisy = scheduler.add_noise(clean, noise, timesteps)
        wanted = scheduler.get_velocity(clean, noise, timesteps)
        down, mid = self.modules["controlnet"](
            noisy,
            timesteps,
            encoder_hidden_states=prompt_embeds,
            controlnet_cond=enlarged,
            cross_attention_kwargs=seen,
            return_dict=False,
        )
        predicted = self.modules["unet"](
            noisy,
            timesteps,
            encoder_hidden_states=prompt_embeds,
            cross_attention_kwargs=seen,
            down_block_additional_residuals=[residual * kept[..., None] for residual in down],
            mid_block_additional_residual=mid * kept[..., None],
            return_dict=False,
        )[0]
        alpha_bar = scheduler.alphas_cumprod.to(clean.device)[timesteps]
        snr = alpha_bar / (1 - alpha_bar)
        weight = snr.clamp(max=self.config.snr_gamma) / (snr + 1)
        losses: Tensor = weight * (predicted.float() - wanted).square().mean((1, 2, 3))
        return losses

    def _draw(self, seeds: Tensor, shape: Iterable[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Time step (B,), noise (B, c, h, w) and three numbers in [0, 1), (3, B), of each sample by its seed."""
        timesteps, noise, chances = [], [], []
        for seed in seeds.tolist():
            rng = np.random.default_rng((5, seed))
            timesteps.append(int(rng.integers(self.scheduler.config.num_train_timesteps)))
            chances.append(torch.from_numpy(rng.random(3)))
            noise.append(torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32)))
        device = seeds.device
        drawn = torch.stack(noise).to(device), torch.stack(chances, 1).to(device)
        return torch.tensor(timesteps, device=device), *drawn

    @torch.no_grad()
    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Loss at fixed draws with everything, without the text, with another photo's text; and (`prior_`) the same
        without ControlNet and embedding, where the text is all there is to go by."""
        tokens = tokenize(self.tokenizer, self.validation.tags)
        variants = {"": (tokens, 0.0), "no_text_": (tokens, 1.0), "wrong_text_": (tokens.roll(7, 0), 0.0)}
        values: dict[str, float] = {}
        for prefix, drop_conditions in (("", 0.0), ("prior_", 1.0)):
            for name, (text, drop_text) in variants.items():
                crops = LatentCrops(self.validation, text, self.config.size, VALIDATION_SEED)
                values[f"{prefix}{name}loss"] = self._validation_loss(crops, drop_text, drop_conditions)
        return values, {}

    def _validation_loss(self, crops: LatentCrops, drop_text: float, drop_conditions: float) -> float:
        device = next(self.modules["unet"].parameters()).device
        batches = [
            {name: value.to(device) for name, value in default_collate([crops[i] for i in numbers.tolist()]).items()}
            for numbers in torch.arange(self.config.validation_draws).split(32)
        ]
        return float(torch.cat([self.losses(batch, drop_text, drop_conditions) for batch in batches]).mean())

    def save(self, folder: Path) -> None:
        """A complete model folder."""
        networks: dict[str, Any] = {name: _unwrapped(module) for name, module in self.modules.items()}
        networks.setdefault("text_encoder", self.text_encoder)
        pipeline = SeeSRPipeline(
            vae=self.vae,
            tagger=self.tagger,
            enlarger=self.enlarger,
            tokenizer=self.tokenizer,
            scheduler=self.scheduler,
            **networks,
            profiles={"diffusion": DIFFUSION_PROFILE.to_dict(), "fast": ENLARGER_ONLY.to_dict()},
            default_profile="fast",
            residual_decoding=True,
        )
        pipeline.save_pretrained(folder)


DIFFUSION_PROFILE = Settings(
    scheduler="dpm++",
    num_inference_steps=4,
    guidance_scale=1.0,
    fidelity=0.6,
    process_size=8,
    detail=0.6,
    latent_tile_size=64,
    latent_tile_overlap=16,
    tile_blend="cosine",
    reserve_prompt=True,
    added_prompt="",
    negative_prompt="",
)
"""Sampling for a small model: its texture is laid over the enlarged photo at 40 %, where it measures best, there is no
guidance, since no words ever told it to be sharp, and four steps of DPM-Solver++ are as good as twenty of DDPM
(`benchmarks/ablation.py`)."""


def new_networks(config: PriorConfig, latent_channels: int, image_embed_dim: int) -> dict[str, Any]:
    """An untrained UNet and a ControlNet for it; attention at all levels but the finest, which is most of the cost."""
    levels = len(config.channels)
    shared: dict[str, Any] = {
        "in_channels": latent_channels,
        "block_out_channels": tuple(config.channels),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
        "norm_num_groups": 16,
        "attention_head_dim": tuple(config.heads),
        "cross_attention_dim": WIDTH,
        "use_linear_projection": True,
        "image_embed_dim": image_embed_dim,
    }
    up = (*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D")
    unet = SemanticUNet(out_channels=latent_channels, up_block_types=up, sample_size=config.size, **shared)
    return {"unet": unet, "controlnet": SemanticControlNet(latent_condition=True, **shared)}


def _start(folder: str) -> Any:
    """The model whose diffusion part is trained further."""
    pipeline: Any = SeeSRPipeline.from_pretrained(folder)
    if pipeline.unet is None or pipeline.controlnet is None:
        raise SeesrError(f"start: {folder} has no diffusion part; give a folder that this stage wrote, or mini")
    return pipeline


def _text(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and frozen tower."""
    try:
        tower = TextTower.from_pretrained(folder / "text_encoder")
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    except OSError as error:
        raise SeesrError(f"text: {folder} holds no text tower ({str(error).splitlines()[0]})") from None
    return tokenizer, tower.eval().requires_grad_(False)


def _unwrapped(module: Any) -> Any:
    return getattr(module, "module", module)


def _hash(folder: Path) -> str:
    """Of the weights of one component."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SeesrError(f"{folder} holds no weights")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the photos, the parts or a checkpoint; before the first step.
    """
    config = load_config(PriorConfig, Path(config_path), overrides)
    return loop.train(lambda: PriorStage(config), config)
