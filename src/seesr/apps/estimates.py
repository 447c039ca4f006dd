"""What restoring a photo takes with a model by folder or name, its weights untouched (`seesr.restoration.estimate`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from seesr.checkpoints.files import read_json
from seesr.checkpoints.foreign import load_foreign_enlarger
from seesr.checkpoints.meta import NETWORKS, as_meta, meta_networks
from seesr.devices import measure_rates, part_dtype
from seesr.restoration.engines import PARTS
from seesr.restoration.estimate import Estimate, estimate_networks
from seesr.restoration.profiles import PAPER, TURBO, choose_profile

_EFFICIENCY = {"denoise": 0.5}
_OTHER_EFFICIENCY = 0.8
"""Of the rate of one convolution that a stage reaches, measured on one core: the embedded enlarger and the full-size
UNet with its attention (docs/benchmarks.md)."""


def seconds_span(needs: Estimate, device: torch.device, dtype: torch.dtype) -> tuple[float, float, bool]:
    """(least, most) seconds that a restoration takes on `device`, and whether the machine is too busy to be probed."""
    rates = measure_rates(device, dtype)
    work = sum(stage.operations / _EFFICIENCY.get(stage.name, _OTHER_EFFICIENCY) for stage in needs.stages)
    return work / rates.fast, work / rates.slow, rates.busy


def estimate(
    folder: Path,
    size: tuple[int, int],
    scale: float,
    dtype: torch.dtype,
    on_gpu: bool = False,
    profile: str | None = None,
    given: Mapping[str, Any] | None = None,
    enlarger: Path | None = None,
) -> Estimate:
    """What restoring a photo of `size` (width, height) takes with the model in `folder`.

    profile: the model's default one if None. given: settings put over it. enlarger: file of a network in the place of
    the model's enlarger.

    Raises:
        SeesrError: a config is missing or damaged, the enlarger cannot be used, or a region does not fit the photo.
    """
    index = read_json(folder / "model_index.json")
    name = profile or index.get("default_profile", "paper")
    settings = choose_profile(name, index.get("profiles", {}), bool((index.get("unet") or [None])[0]))
    settings = settings.with_overrides(**(given or {}))
    parts = NETWORKS if settings.num_inference_steps else ("tagger", PARTS[settings.engine])  # as they are loaded
    networks = meta_networks(folder, dtype, parts)
    if enlarger is not None:
        networks["enlarger"] = load_foreign_enlarger(enlarger, dtype).to("meta")
    return estimate_networks(networks, name, settings, size, scale, dtype, on_gpu)


def estimate_published(
    turbo: bool, size: tuple[int, int], scale: float, dtype: torch.dtype, on_gpu: bool = False
) -> Estimate:
    """The same with the paper's model, or its two-step variant, of which nothing needs to be here."""
    from seesr.models.full_size import full_size_diffusion, full_size_tagger

    with init_empty_weights(include_buffers=False):
        networks = {"tagger": full_size_tagger(), **full_size_diffusion()}
    networks = {name: as_meta(network, part_dtype(type(network).__name__, dtype)) for name, network in networks.items()}
    name, settings = ("fast", TURBO) if turbo else ("paper", PAPER)
    return estimate_networks(networks, name, settings, size, scale, dtype, on_gpu)
