"""The settings as keywords, for type checkers. Written by docs/write_settings.py; do not edit."""

from collections.abc import Sequence
from typing import TypedDict

from seesr.restoration.settings import Bits, ColorFix, Engine, StartPoint, TileBlend


class SettingsKeywords(TypedDict, total=False):
    """Every setting of `seesr.restoration.settings.Settings`; None leaves it to the profile."""

    scale: float | None
    process_size: int | None
    engine: Engine | None
    detail: float | None
    prompt: str | None
    tags: Sequence[str] | None
    exclude_tags: Sequence[str] | None
    negative_prompt: str | None
    added_prompt: str | None
    reserve_prompt: bool | None
    use_image_embeds: bool | None
    ground_tags: bool | None
    regions: Sequence[str] | None
    scheduler: str | None
    num_inference_steps: int | None
    guidance_scale: float | None
    guidance_interval: tuple[float, float] | None
    start_point: StartPoint | None
    start_timestep: int | None
    dense_ends: float | None
    conditioning_scale: float | None
    fidelity: float | None
    reuse: int | None
    refine: float | None
    color_fix: ColorFix | None
    seed: int | None
    latent_tile_size: int | None
    latent_tile_overlap: int | None
    tile_blend: TileBlend | None
    tile_batch_size: int | None
    tile_tags: bool | None
    vae_tile_size: int | None
    memory: int | str | None
    bits: Bits | None
