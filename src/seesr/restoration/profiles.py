"""Profiles: named settings of a restoration. A model folder may bring its own; explicit arguments override both."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from seesr.errors import SeesrError
from seesr.restoration.color_fix import COLOR_FIXES
from seesr.restoration.prompts import ADDED_PROMPT, NEGATIVE_PROMPT
from seesr.restoration.sampling import START_POINTS
from seesr.tiling.geometry import BLENDS


@dataclass(frozen=True)
class Profile:
    """How to restore. The defaults are the paper's: with them `SeeSRPipeline` makes the published code's picture.

    scheduler: a name in `seesr.restoration.sampling.SCHEDULERS` or a scheduler class of diffusers.
    num_inference_steps: denoising steps; 0 leaves the diffusion part out (models with a learned enlarger only).
    guidance_scale: weight of the positive against the negative prompt; 1 or less: the negative one is not run.
    guidance_interval: fractions of the steps within which guidance is on, 0 the noisiest step, 1 the last.
    start_point: "lr" starts from the LR embedding with noise, "noise" from pure noise, "lr-clean" from the LR embedding
        as it is (models of one or few steps).
    start_timestep: training step at which sampling starts; 0 for the whole schedule.
    color_fix: "adain", "wavelet" or "none".
    process_size: photos are enlarged until scale x their shorter side is at least this many pixels.
    latent_tile_size, latent_tile_overlap: in latent pixels (8 pixels of the picture).
    tile_blend: "gaussian", as published, or "cosine", wide and even (`seesr.tiling.geometry`).
    tile_batch_size: tiles per call of the network.
    tile_tags: prompt and embedding of the part of the photo under each tile, instead of the same for all.
    vae_tile_size: pixels; the VAE works in one piece up to this side, in such tiles beyond. 0: as published, in one
        piece up to 1088 (encoder) and 1968 (decoder), and in tiles of 512 beyond.
    conditioning_scale: weight of the ControlNet's residuals.
    reserve_prompt: shorten long tag lists so that the added prompt survives CLIP's 77 tokens.
    fidelity: 0 shows all that the model invents, 1 shows the enlarged photo alone; see `SeeSRPipeline`.
    """

    scheduler: str = "ddpm"
    num_inference_steps: int = 50
    guidance_scale: float = 5.5
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    start_point: str = "lr"
    start_timestep: int = 0
    color_fix: str = "adain"
    process_size: int = 512
    latent_tile_size: int = 96
    latent_tile_overlap: int = 4
    tile_blend: str = "gaussian"
    tile_batch_size: int = 1
    tile_tags: bool = False
    vae_tile_size: int = 0
    conditioning_scale: float = 1.0
    reserve_prompt: bool = False
    fidelity: float = 0.0
    added_prompt: str = ADDED_PROMPT
    negative_prompt: str = NEGATIVE_PROMPT

    def __post_init__(self) -> None:
        checks = {
            "num_inference_steps": 0 <= self.num_inference_steps <= 1000,
            "guidance_scale": math.isfinite(self.guidance_scale),
            "guidance_interval": 0 <= self.guidance_interval[0] <= self.guidance_interval[1] <= 1,
            "start_point": self.start_point in START_POINTS,
            "start_timestep": 0 <= self.start_timestep < 1000
            and (not self.start_timestep or self.num_inference_steps <= self.start_timestep),
            "color_fix": self.color_fix in COLOR_FIXES,
            "process_size": self.process_size >= 8,
            "latent_tile_size": self.latent_tile_size >= 8,
            "latent_tile_overlap": 0 <= self.latent_tile_overlap < self.latent_tile_size,
            "tile_blend": self.tile_blend in BLENDS,
            "vae_tile_size": self.vae_tile_size == 0 or self.vae_tile_size >= 64,
            "conditioning_scale": math.isfinite(self.conditioning_scale),
            "tile_batch_size": self.tile_batch_size >= 1,
            "fidelity": 0 <= self.fidelity <= 1,
        }
        for name, holds in checks.items():
            if not holds:
                raise SeesrError(f"{name} cannot be {getattr(self, name)!r}")

    def with_overrides(self, **settings: Any) -> "Profile":
        """A copy with those `settings` that are not None."""
        return replace(self, **{name: value for name, value in settings.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_dict(settings: dict[str, Any]) -> "Profile":
        """The reverse of `to_dict`; missing settings take the paper's value.

        Raises:
            SeesrError: an unknown setting, as a newer version may have written.
        """
        unknown = settings.keys() - {field.name for field in fields(Profile)}
        if unknown:
            raise SeesrError(f"the model's profile has unknown settings {sorted(unknown)}; update seesr")
        interval = settings.get("guidance_interval", (0.0, 1.0))
        return Profile(**{**settings, "guidance_interval": (float(interval[0]), float(interval[1]))})


PAPER = Profile()
FAST = Profile(
    scheduler="dpm++",
    num_inference_steps=20,
    latent_tile_overlap=32,
    tile_blend="cosine",
    tile_batch_size=4,
    vae_tile_size=512,
    reserve_prompt=True,
)
TURBO = Profile(num_inference_steps=2, guidance_scale=1.0, latent_tile_overlap=32)
ENLARGER_ONLY = Profile(num_inference_steps=0, color_fix="none", reserve_prompt=True, process_size=8)


def choose_profile(name: str, own: dict[str, dict[str, Any]], has_diffusion: bool) -> Profile:
    """The profile called `name`: the model's own of that name, else a built-in one.

    Args:
        own: name → settings that the model folder brings.
        has_diffusion: whether the model consists of more than an enlarger.

    Raises:
        SeesrError: no such profile.
    """
    if name in own:
        return Profile.from_dict(dict(own[name]))
    built_in = {"paper": PAPER, "fast": FAST if has_diffusion else ENLARGER_ONLY}
    if name not in built_in:
        raise SeesrError(f"no profile {name!r}; there are {', '.join(sorted({*built_in, *own}))}")
    return built_in[name]
