"""What a restoration will need, without doing it: its networks are run dry, on PyTorch's meta device.

Meta tensors have a shape and no numbers, so a dry run is quick whatever the model and needs neither its weights nor
their memory. It counts the operations asked for and the bytes of all tensors alive at the same time. Operations become
seconds by the rate that a short probe finds on this machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch.utils.flop_counter import FlopCounterMode

from seesr.checkpoints.files import read_json
from seesr.enlarging import LATENT_FACTOR, output_size, working_size
from seesr.live_bytes import LiveBytes
from seesr.memory import picture_bytes
from seesr.models.enlarger import OVERLAP, TILE
from seesr.profiles import PAPER, TURBO, Profile, choose_profile
from seesr.tiling import Tile, even_starts, plan_tiles
from seesr.workplan import usual_plan

NETWORKS = ("tagger", "text_encoder", "enlarger", "vae", "controlnet", "unet")

VAE_PART = 512
"""Side, in pixels, of the part of the picture that the VAE is run dry on; operations grow with the area."""


@dataclass(frozen=True)
class Stage:
    """One network's part. operations: a multiply-add counts two. peak: bytes alive at once, weights apart."""

    name: str
    operations: float
    peak: int


@dataclass(frozen=True)
class Estimate:
    """What restoring one photo takes.

    size: width and height of the result. tiles: of the latent, per step. weights, pictures: bytes of all networks, and
    of what grows with the picture.
    """

    size: tuple[int, int]
    profile: str
    steps: int
    tiles: int
    enlarger_tiles: int
    weights: int
    pictures: int
    stages: list[Stage]

    @property
    def operations(self) -> float:
        return sum(stage.operations for stage in self.stages)

    @property
    def memory(self) -> int:
        """Bytes of the weights, of the stage that takes most and of the pictures, all at once."""
        return self.weights + max((stage.peak for stage in self.stages), default=0) + self.pictures


def estimate(folder: Path, size: tuple[int, int], scale: float, dtype: torch.dtype) -> Estimate:
    """What restoring a photo of `size` (width, height) takes with the model in `folder` and its default profile.

    Raises:
        SeesrError: a config is missing or damaged.
    """
    index = read_json(folder / "model_index.json")
    networks = meta_networks(folder, dtype)
    name = index.get("default_profile", "paper")
    settings = choose_profile(name, index.get("profiles", {}), "unet" in networks)
    return _estimate(networks, name, settings, size, scale, dtype)


def estimate_published(turbo: bool, size: tuple[int, int], scale: float, dtype: torch.dtype) -> Estimate:
    """The same with the paper's model, or its two-step variant, of which nothing needs to be here."""
    from seesr.models.full_size import full_size_diffusion, full_size_tagger

    with init_empty_weights(include_buffers=False):
        networks = {"tagger": full_size_tagger(), **full_size_diffusion()}
    networks = {name: _as_meta(network, dtype) for name, network in networks.items()}
    name, settings = ("fast", TURBO) if turbo else ("paper", PAPER)
    return _estimate(networks, name, settings, size, scale, dtype)


def _estimate(
    networks: dict[str, Any], name: str, settings: Profile, size: tuple[int, int], scale: float, dtype: torch.dtype
) -> Estimate:
    weights = sum(p.numel() * p.element_size() for network in networks.values() for p in network.parameters())
    worked = working_size(size, scale, settings.process_size)
    columns, rows = (max(1, side // LATENT_FACTOR) for side in worked)
    width, height = (max(1, round(side / scale)) for side in worked)  # of the photo, a small one enlarged first
    latent_tiles = plan_tiles(
        rows, columns, settings.latent_tile_size, settings.latent_tile_overlap, settings.tile_blend
    )
    enlarger_tiles = math.prod(len(even_starts(side, TILE, OVERLAP)) for side in (height, width))
    stages = []
    embedding: tuple[int, ...] = ()
    if tagger := networks.get("tagger"):
        side = tagger.config.image_size
        stages.append(_dry("tags", lambda: tagger(_zeros(dtype, 1, 3, side, side))))
        embedding = tuple(tagger(_zeros(dtype, 1, 3, side, side)).image_embeds.shape[1:])
    if enlarger := networks.get("enlarger"):
        tile = _zeros(dtype, 1, 3, min(height, TILE), min(width, TILE))
        stages.append(_dry("enlarge", lambda: enlarger(tile), enlarger_tiles))
    diffuse = "unet" in networks and settings.num_inference_steps > 0
    if diffuse:
        stages += _diffusion(networks, settings, (rows, columns), latent_tiles, embedding, dtype)
    return Estimate(
        size=output_size(*size, scale),
        profile=name,
        steps=settings.num_inference_steps,
        tiles=len(latent_tiles) if diffuse else 0,
        enlarger_tiles=enlarger_tiles if "enlarger" in networks else 0,
        weights=weights,
        pictures=picture_bytes(size, scale, settings),
        stages=stages,
    )


def _diffusion(
    networks: dict[str, Any],
    settings: Profile,
    size: tuple[int, int],  # rows and columns of the latent
    tiles: list[Tile],
    embedding: tuple[int, ...],  # shape of the representation embedding
    dtype: torch.dtype,
) -> list[Stage]:
    vae, text, unet, controlnet = (networks[name] for name in ("vae", "text_encoder", "unet", "controlnet"))
    prompts = 2 if settings.guidance_scale > 1 else 1
    together = min(settings.tile_batch_size, len(tiles))
    batch = prompts * together
    latents = _zeros(dtype, batch, unet.config.in_channels, tiles[0].height, tiles[0].width)
    embedder, controlnet.controlnet_cond_embedding = controlnet.controlnet_cond_embedding, torch.nn.Identity()
    condition = _zeros(dtype, 1, 3, tiles[0].height * LATENT_FACTOR, tiles[0].width * LATENT_FACTOR)
    if getattr(controlnet.config, "latent_condition", False):
        condition = latents[:1]
    embedded = embedder(condition).expand(batch, -1, -1, -1)  # the same at every step: made once
    words = _zeros(dtype, batch, 77, unet.config.cross_attention_dim)
    seen = {"image_embeds": _zeros(dtype, batch, *embedding)}

    def step() -> None:
        down, mid = controlnet(
            latents,
            1,
            encoder_hidden_states=words,
            controlnet_cond=embedded,
            cross_attention_kwargs=seen,
            return_dict=False,
        )
        unet(
            latents,
            1,
            encoder_hidden_states=words,
            cross_attention_kwargs=seen,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )

    height, width = (side * LATENT_FACTOR for side in size)
    part = _zeros(dtype, 1, 3, min(height, VAE_PART), min(width, VAE_PART))
    area = height * width / math.prod(part.shape[-2:])
    plan = usual_plan(settings)
    tile = (plan.vae_tile * LATENT_FACTOR) ** 2 / math.prod(part.shape[-2:])
    encoded, decoded = (
        area if max(height, width) <= whole else min(area, tile) for whole in (plan.encode_whole, plan.decode_whole)
    )
    small = _zeros(dtype, 1, vae.config.latent_channels, *(side // LATENT_FACTOR for side in part.shape[-2:]))
    tokens = torch.zeros(2, 77, dtype=torch.long, device="meta")
    return [
        _dry("prompt", lambda: text(tokens)),
        _dry("encode", lambda: vae.encode(part), area, encoded),
        _dry("condition", lambda: embedder(condition), len(tiles)),
        _dry("denoise", step, settings.num_inference_steps * len(tiles) / together),
        _dry("decode", lambda: vae.decode(small), area, decoded),
    ]


def meta_networks(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The networks of a model folder on the meta device: name of the part → network, in `dtype`.

    Raises:
        SeesrError: a config is missing or not JSON.
    """
    index = read_json(folder / "model_index.json")
    networks = {}
    for name in NETWORKS:
        library, class_name = index.get(name) or (None, None)
        if library is None or class_name is None:
            continue
        network_class = getattr(import_module(library), class_name)
        config = read_json(folder / name / "config.json")
        with init_empty_weights(include_buffers=False):
            if config_class := getattr(network_class, "config_class", None):  # of transformers
                network = network_class(config_class.from_dict(config))
            else:
                network = network_class(**{key: value for key, value in config.items() if not key.startswith("_")})
        networks[name] = _as_meta(network, dtype)
    return networks


def _as_meta(network: torch.nn.Module, dtype: torch.dtype) -> Any:
    return torch.nn.Module.to(network, "meta", dtype).eval().requires_grad_(False)


def _zeros(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device="meta")


def _dry(name: str, run: Callable[[], Any], times: float = 1, memory_times: float = 1) -> Stage:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter, LiveBytes() as memory:
        run()
    return Stage(name, counter.get_total_flops() * times, int(memory.peak * memory_times))
