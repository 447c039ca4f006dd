"""What restoring a photo takes with a model by folder or name, its weights untouched (`seesr.restoration.estimate`)."""

from pathlib import Path

import torch
from accelerate import init_empty_weights

from seesr.checkpoints.files import read_json
from seesr.checkpoints.meta import as_meta, meta_networks
from seesr.restoration.estimate import Estimate, estimate_networks
from seesr.restoration.profiles import PAPER, TURBO, choose_profile


def estimate(folder: Path, size: tuple[int, int], scale: float, dtype: torch.dtype, on_gpu: bool = False) -> Estimate:
    """What restoring a photo of `size` (width, height) takes with the model in `folder` and its default profile.

    Raises:
        SeesrError: a config is missing or damaged.
    """
    index = read_json(folder / "model_index.json")
    networks = meta_networks(folder, dtype)
    name = index.get("default_profile", "paper")
    settings = choose_profile(name, index.get("profiles", {}), "unet" in networks)
    return estimate_networks(networks, name, settings, size, scale, dtype, on_gpu)


def estimate_published(
    turbo: bool, size: tuple[int, int], scale: float, dtype: torch.dtype, on_gpu: bool = False
) -> Estimate:
    """The same with the paper's model, or its two-step variant, of which nothing needs to be here."""
    from seesr.models.full_size import full_size_diffusion, full_size_tagger

    with init_empty_weights(include_buffers=False):
        networks = {"tagger": full_size_tagger(), **full_size_diffusion()}
    networks = {name: as_meta(network, dtype) for name, network in networks.items()}
    name, settings = ("fast", TURBO) if turbo else ("paper", PAPER)
    return estimate_networks(networks, name, settings, size, scale, dtype, on_gpu)
