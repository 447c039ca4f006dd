"""The one settings object: every setting of a restoration with its default, its help, its range and its option.

From these fields are made the keywords of the pipeline's call, the command line's options, `evaluate --set`, the
description that pages, nodes and the API show (`describe_settings`) and docs/settings.md. To add a setting, add a
field here and run `python docs/write_settings.py`. A profile is a named set of settings (`seesr.restoration.profiles`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_type_hints

from seesr.errors import SeesrError
from seesr.restoration.prompts import ADDED_PROMPT, NEGATIVE_PROMPT
from seesr.restoration.schedulers import SCHEDULERS, known_scheduler
from seesr.restoration.sizes import DEFAULT_SCALE, MAX_SCALE
from seesr.restoration.specs import Spec, setting, unknown_setting

StartPoint = Literal["lr", "noise", "lr-clean"]
ColorFix = Literal["adain", "wavelet", "none"]
TileBlend = Literal["gaussian", "cosine"]
Bits = Literal[8, 16]
Engine = Literal["fine", "quick"]


@dataclass(frozen=True)
class Settings:
    """How to restore. The defaults are the paper's: with them `SeeSRPipeline` makes the published code's picture.

    Raises:
        SeesrError: a value of the wrong kind or out of range.
    """

    # Size
    scale: float = setting(
        DEFAULT_SCALE,
        "size",
        "scale",
        "Of width and height, more than 0; the result is exactly that much larger. Below 1 the photo is restored at "
        "its own size, then reduced.",
        above=0,
        maximum=MAX_SCALE,
        in_profile=False,
        diffusion=False,
    )
    process_size: int = setting(
        512,
        "size",
        "process-size",
        "Least shorter side worked at, in pixels: photos are enlarged until scale times theirs is as much.",
        minimum=8,
        diffusion=False,
    )

    # Enlarging
    engine: Engine = setting(
        "fine",
        "size",
        "engine",
        "The network that enlarges: fine, or quick, a small one: a fraction of the time, less faithful.",
        diffusion=False,
    )
    detail: float = setting(
        1.0,
        "size",
        "detail",
        "Of the embedded enlarger. 0 is calm: noise and JPEG blocks go, fine texture too. 1 draws out most.",
        minimum=0,
        maximum=1,
        diffusion=False,
    )

    # Semantics
    prompt: str = setting("", "semantics", "prompt", "Words of your own, put after the tags.", in_profile=False)
    tags: Sequence[str] | None = setting(
        None, "semantics", "tags", "Instead of those DAPE sees; an empty list for none.", in_profile=False
    )
    exclude_tags: Sequence[str] = setting(
        (), "semantics", "exclude-tags", "Left out, whatever their origin.", in_profile=False
    )
    negative_prompt: str = setting(
        NEGATIVE_PROMPT, "semantics", "negative-prompt", "What the picture must not be; read where guidance is on."
    )
    added_prompt: str = setting(ADDED_PROMPT, "semantics", "added-prompt", "Quality words after the tags.")
    reserve_prompt: bool = setting(
        False,
        "semantics",
        "reserve-prompt",
        "Shorten long tag lists so that the added prompt survives CLIP's 77 tokens.",
    )
    use_image_embeds: bool = setting(
        True,
        "semantics",
        "embedding",
        "Off: the image attention (RCA) gets zeros in place of the representation embedding.",
        in_profile=False,
    )
    ground_tags: bool = setting(
        False,
        "semantics",
        "ground-tags",
        "A tag's words act only where it is seen, and guidance only where some tag is (arXiv 2510.22534).",
    )

    regions: Sequence[str] = setting(
        (),
        "semantics",
        "region",
        "x,y,w,h: words, in pixels of the photo or, up to 1, in fractions: a prompt of its own for this part, in place "
        "of tags and prompt. Later ones lie over earlier ones.",
        in_profile=False,
        kind="regions",
    )

    # Sampling
    scheduler: str = setting(
        "ddpm", "sampling", "scheduler", f"{', '.join(SCHEDULERS)}, or a scheduler class of diffusers."
    )
    num_inference_steps: int = setting(
        50,
        "sampling",
        "steps",
        "Denoising steps; 0 leaves the diffusion part out (models with a learned enlarger).",
        minimum=0,
        maximum=1000,
        diffusion=False,
    )
    guidance_scale: float = setting(
        5.5, "sampling", "guidance", "Weight of the prompt against the negative one; 1 or less is off."
    )
    guidance_interval: tuple[float, float] = setting(
        (0.0, 1.0),
        "sampling",
        "guidance-interval",
        "Part of the steps within which guidance is on, 0 the noisiest, 1 the last.",
        minimum=0,
        maximum=1,
    )
    start_point: StartPoint = setting(
        "lr",
        "sampling",
        "start",
        "From the LR embedding with noise, from pure noise, or from the LR embedding as it is "
        "(for models of one or few steps).",
    )
    start_timestep: int = setting(
        0,
        "sampling",
        "start-timestep",
        "Training step at which sampling starts, and to which lr is noised; 0: the whole schedule.",
        minimum=0,
        maximum=999,
    )
    dense_ends: float = setting(
        0.0,
        "sampling",
        "dense-ends",
        "How much closer the first and the last steps lie than those in the middle (after arXiv 2505.12048); 0: as the "
        "scheduler plans them.",
        minimum=0,
        maximum=0.9,
    )
    conditioning_scale: float = setting(
        1.0, "sampling", "conditioning-scale", "Weight of the ControlNet, which holds to the photo."
    )
    fidelity: float = setting(
        0.0, "sampling", "fidelity", "0: all invented detail, 1: the enlarged photo alone.", minimum=0, maximum=1
    )
    reuse: int = setting(
        1,
        "sampling",
        "reuse",
        "Of so many steps in a row, ControlNet and the deep part of the UNet run at the first only; the others use its "
        "features (arXiv 2312.00858).",
        minimum=1,
        maximum=10,
    )
    refine: float = setting(
        0.0,
        "sampling",
        "refine",
        "From the second step on ControlNet and DAPE see the photo mixed with so much of what is predicted of it; for "
        "few steps (arXiv 2404.01717, which takes 0.5).",
        minimum=0,
        maximum=1,
    )
    color_fix: ColorFix = setting("adain", "sampling", "color-fix", "How the photo's colours are kept.")
    seed: int = setting(
        0,
        "sampling",
        "seed",
        "Every photo starts afresh from it, so results do not depend on their order.",
        minimum=0,
        maximum=2**63 - 1,
        in_profile=False,
    )

    # Tiles
    latent_tile_size: int = setting(96, "tiles", "latent-tile", "Tile side, in units of 8 pixels.", minimum=8)
    latent_tile_overlap: int = setting(
        4, "tiles", "latent-overlap", "Overlap of tiles, in the same units; less than their side.", minimum=0
    )
    tile_blend: TileBlend = setting(
        "gaussian", "tiles", "tile-blend", "How tiles are joined: gaussian, as published, or cosine, wide and even."
    )
    tile_batch_size: int = setting(1, "tiles", "tile-batch", "Tiles worked on at once.", minimum=1)
    tile_tags: bool = setting(
        False, "tiles", "tile-tags", "Look at what is under each tile, instead of the same words for all."
    )
    vae_tile_size: int = setting(
        0,
        "tiles",
        "vae-tile",
        "Pixels a side that the VAE works on in one piece, 64 or more; 0: as published.",
        minimum=0,
    )
    memory: int | str | None = setting(
        None,
        "tiles",
        "memory",
        "Keep to this much, as in 4GB or in bytes, with small tiles.",
        in_profile=False,
        diffusion=False,
    )

    # Files
    bits: Bits = setting(
        8,
        "files",
        "bits",
        "Of a channel, between the stages and in the result; 16 for PNG and TIFF.",
        in_profile=False,
        diffusion=False,
    )

    def __post_init__(self) -> None:
        for spec in SPECS.values():
            object.__setattr__(self, spec.name, spec.check(getattr(self, spec.name)))
        object.__setattr__(self, "scheduler", known_scheduler(self.scheduler))
        if self.latent_tile_overlap >= self.latent_tile_size:
            raise SeesrError(
                f"`latent_tile_overlap` cannot be {self.latent_tile_overlap}; it must be less than "
                f"`latent_tile_size`, which is {self.latent_tile_size}"
            )
        if 0 < self.start_timestep < self.num_inference_steps:
            raise SeesrError(
                f"`start_timestep` cannot be {self.start_timestep}; it must be 0, or at least "
                f"`num_inference_steps`, which is {self.num_inference_steps}"
            )
        if self.refine and self.reuse > 1:
            raise SeesrError("`refine` shows the networks something new at every step, so it does not go with `reuse`")
        if 0 < self.vae_tile_size < 64:
            raise SeesrError(f"`vae_tile_size` cannot be {self.vae_tile_size}; give 0, or 64 or more")

    @property
    def is_paper(self) -> bool:
        """Whether all that a profile may set is as in the paper."""
        return self.to_dict() == Settings().to_dict()

    def with_overrides(self, **settings: Any) -> "Settings":
        """A copy with those `settings` that are not None.

        Raises:
            SeesrError: no such setting, or a value it cannot have.
        """
        for name in settings.keys() - SPECS.keys():
            raise unknown_setting(name, SPECS)
        return replace(self, **{name: value for name, value in settings.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """What a profile keeps, as plain JSON types."""
        values = {spec.name: getattr(self, spec.name) for spec in SPECS.values() if spec.in_profile}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @staticmethod
    def from_dict(settings: Mapping[str, Any]) -> "Settings":
        """The reverse of `to_dict`; missing settings take the paper's value.

        Raises:
            SeesrError: an unknown setting, as a newer version may have written.
        """
        unknown = settings.keys() - {spec.name for spec in SPECS.values() if spec.in_profile}
        if unknown:
            raise SeesrError(f"the model's profile has unknown settings {sorted(unknown)}; update seesr")
        return Settings(**settings)


def _specs() -> dict[str, Spec]:
    hints = get_type_hints(Settings)
    return {field.name: Spec.of(field, hints[field.name]) for field in fields(Settings)}


SPECS: dict[str, Spec] = _specs()
"""Every setting by its name, in the order of the fields."""


def find_setting(name: str) -> Spec:
    """A setting by the library's name or by the command line's, with dashes or underscores.

    Raises:
        SeesrError: no such setting; names the nearest.
    """
    by_name = SPECS | {spec.option.replace("-", "_"): spec for spec in SPECS.values()}
    key = name.strip().lower().lstrip("-").replace("-", "_")
    if key not in by_name:
        raise unknown_setting(name, by_name)
    return by_name[key]


def describe_settings() -> dict[str, dict[str, Any]]:
    """The settings by name as JSON Schema properties, with `group`, `option`, `in_profile` and `diffusion` beside.

    For pages, nodes and the API: `{"type": "object", "properties": describe_settings()}` is a schema.
    """
    return {name: spec.schema() for name, spec in SPECS.items()}
