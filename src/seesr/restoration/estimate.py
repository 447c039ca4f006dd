"""What a restoration will need, without doing it: its networks are run dry, on PyTorch's meta device.

Meta tensors have a shape and no numbers, so a dry run is quick whatever the model and needs neither its weights nor
their memory. It counts the operations asked for, which become seconds by the rate that a short probe finds on this
machine; bytes are counted by `seesr.restoration.needs`, as for a restoration.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from seesr.restoration.engines import enlarger_of
from seesr.restoration.needs import Needs
from seesr.restoration.regions import Region
from seesr.restoration.settings import Settings
from seesr.restoration.sizes import output_size, work_scale, working_size
from seesr.restoration.work_plan import usual_plan
from seesr.tiling.geometry import LATENT_FACTOR, Tile, even_starts, plan_tiles

VAE_PART = 512
"""Side, in pixels, of the part of the picture that the VAE is run dry on; operations grow with the area."""


@dataclass(frozen=True)
class StageCost:
    """One network's part. operations: a multiply-add counts two."""

    name: str
    operations: float


@dataclass(frozen=True)
class Estimate:
    """What restoring one photo takes.

    size: width and height of the result. tiles: of the latent, per step. weights, pictures, working: bytes of all
    networks, of what grows with the picture, and of the pieces being worked on.
    """

    size: tuple[int, int]
    profile: str
    steps: int
    tiles: int
    enlarger_tiles: int
    weights: int
    pictures: int
    working: int
    stages: list[StageCost]

    @property
    def operations(self) -> float:
        return sum(stage.operations for stage in self.stages)

    @property
    def memory(self) -> int:
        """Bytes of the weights, of the stage that takes most and of the pictures, all at once; the program apart."""
        return self.weights + self.working + self.pictures


def estimate_networks(
    networks: dict[str, Any],
    name: str,
    settings: Settings,
    size: tuple[int, int],
    scale: float,
    dtype: torch.dtype,
    on_gpu: bool = False,
) -> Estimate:
    """What restoring a photo of `size` (width, height) takes with `networks`, name → network on the meta device."""
    weights = sum(p.numel() * p.element_size() for network in networks.values() for p in network.parameters())
    worked = working_size(size, scale, settings.process_size)
    columns, rows = (max(1, side // LATENT_FACTOR) for side in worked)
    width, height = (
        max(1, round(side / work_scale(scale))) for side in worked
    )  # of the photo, a small one enlarged first
    latent_tiles = plan_tiles(
        rows, columns, settings.latent_tile_size, settings.latent_tile_overlap, settings.tile_blend
    )
    enlarger_tiles = 0
    stages = []
    embedding: tuple[int, ...] = ()
    if tagger := networks.get("tagger"):
        side = tagger.config.image_size
        seen = []
        pixels = _zeros(tagger.dtype, 1, 3, side, side)
        looks = max(1, settings.num_inference_steps) if settings.refine else 1
        stages.append(_dry("tags", lambda: seen.append(tagger(pixels)), looks))
        embedding = tuple(seen[0].image_embeds.shape[1:])
    parts = ("tagger", "enlarger", "quick", "vae", "unet", "controlnet")
    found = SimpleNamespace(**{part: networks.get(part) for part in parts})
    if enlarger := enlarger_of(found, settings.engine):
        down, across, overlap = enlarger.tile_shape(height, width)
        tile = _zeros(enlarger.dtype, 1, 3, down, across)
        enlarger_tiles = len(even_starts(height, down, overlap)) * len(even_starts(width, across, overlap))
        stages.append(_dry("enlarge", lambda: enlarger(tile), enlarger_tiles))
    needs = Needs(found, size, scale, settings, on_gpu)
    working = needs.working(usual_plan(settings), settings, len(latent_tiles))
    diffuse = "unet" in networks and settings.num_inference_steps > 0
    if diffuse:
        stages += _diffusion(networks, settings, (rows, columns), size, latent_tiles, embedding, dtype)
    return Estimate(
        size=output_size(*size, scale),
        profile=name,
        steps=settings.num_inference_steps,
        tiles=len(latent_tiles) if diffuse else 0,
        enlarger_tiles=enlarger_tiles,
        weights=weights,
        pictures=needs.pictures,
        working=working,
        stages=stages,
    )


def _diffusion(
    networks: dict[str, Any],
    settings: Settings,
    size: tuple[int, int],  # rows and columns of the latent
    photo: tuple[int, int],  # width and height
    tiles: list[Tile],
    embedding: tuple[int, ...],  # shape of the representation embedding
    dtype: torch.dtype,
) -> list[StageCost]:
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

    residuals: list[Any] = []

    def control() -> None:
        residuals[:] = controlnet(
            latents,
            1,
            encoder_hidden_states=words,
            controlnet_cond=embedded,
            cross_attention_kwargs=seen,
            return_dict=False,
        )

    def predict() -> None:
        down, mid = residuals
        unet(
            latents,
            1,
            encoder_hidden_states=words,
            cross_attention_kwargs=seen,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )

    regions = [Region.parse(text).weights(photo, *size) for text in settings.regions]
    again = sum(bool(tile.of(weights).any()) for weights in regions for tile in tiles)  # predicted once more
    height, width = (side * LATENT_FACTOR for side in size)
    part = _zeros(dtype, 1, 3, min(height, VAE_PART), min(width, VAE_PART))
    area = height * width / math.prod(part.shape[-2:])
    small = _zeros(dtype, 1, vae.config.latent_channels, *(side // LATENT_FACTOR for side in part.shape[-2:]))
    tokens = torch.zeros(2, 77, dtype=torch.long, device="meta")
    steps = settings.num_inference_steps
    shown = steps if settings.refine else 1  # so often the networks are told of something new
    whole = math.ceil(steps / settings.reuse)  # steps at which all is computed
    operations, between = _dry("control", control).operations + _dry("denoise", predict).operations, 0.0
    if settings.reuse > 1:
        from seesr.restoration.feature_reuse import deep_features  # imports diffusers

        with deep_features(unet) as deep:
            predict()
            deep.given = deep.found
            between = _dry("denoise", predict).operations
    return [
        _dry("prompt", lambda: text(tokens)),
        _dry("encode", lambda: vae.encode(part), area),
        _dry("condition", lambda: embedder(condition), len(tiles) * shown),
        StageCost("denoise", (whole * operations + (steps - whole) * between) * (len(tiles) + again) / together),
        _dry("decode", lambda: vae.decode(small), area * shown),
    ]


def _zeros(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device="meta")


def _dry(name: str, run: Callable[[], Any], times: float = 1) -> StageCost:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    return StageCost(name, counter.get_total_flops() * times)
