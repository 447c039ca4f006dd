"""Profiles: settings under a name. A model folder may bring its own; explicit settings override them."""

from collections.abc import Mapping
from typing import Any

from seesr.errors import SeesrError
from seesr.restoration.settings import Settings

PAPER = Settings()
FAST = Settings(
    scheduler="dpm++",
    num_inference_steps=20,
    latent_tile_overlap=32,
    tile_blend="cosine",
    tile_batch_size=4,
    vae_tile_size=512,
    reserve_prompt=True,
)
TURBO = Settings(num_inference_steps=2, guidance_scale=1.0, latent_tile_overlap=32)
ENLARGER_ONLY = Settings(num_inference_steps=0, color_fix="none", reserve_prompt=True, process_size=8, detail=0.6)


def choose_profile(name: str, own: Mapping[str, Mapping[str, Any]], has_diffusion: bool) -> Settings:
    """The profile called `name`: the model's own of that name, else a built-in one. `paper` is the paper's always.

    Args:
        own: name → settings that the model folder brings.
        has_diffusion: whether the model consists of more than an enlarger.

    Raises:
        SeesrError: no such profile, or a folder whose own profile `paper` is something else.
    """
    if name == "paper" and "paper" in own and Settings.from_dict(own["paper"]) != PAPER:
        raise SeesrError(
            "the model folder brings a profile 'paper' of its own, but 'paper' means the paper's settings; "
            "rename it to 'diffusion' in its model_index.json"
        )
    if name in own:
        return Settings.from_dict(own[name])
    built_in = {"paper": PAPER, "fast": FAST if has_diffusion else ENLARGER_ONLY}
    if name not in built_in:
        raise SeesrError(f"no profile {name!r}; there are {', '.join(sorted({*built_in, *own}))}")
    return built_in[name]
