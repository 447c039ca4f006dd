"""Models loaded with no more of them than a restoration needs.

Where the profile leaves the diffusion part out (the embedded model's `fast` does) only the tagger and the enlarger are
read, and neither diffusers nor transformers is imported: they take longer than restoring a small photo.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

import seesr
from seesr.checkpoints.foreign import load_foreign_enlarger
from seesr.checkpoints.registry import loading_errors, resolve
from seesr.devices import part_dtype
from seesr.errors import SeesrError
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.restoration.engines import PARTS, enlarger_of
from seesr.restoration.restorer import Restorer
from seesr.restoration.settings import Engine, Settings

if TYPE_CHECKING:
    from seesr.models.conv_tagger import ConvTagger
    from seesr.models.tagger import Tagger

_LIGHT_PARTS = ("tagger", "enlarger", "quick")


class LightRestorer(Restorer):
    """Tagger and enlarger of a model; restores with profiles that take no denoising step, and tells tags.

    Args:
        index: what the model's `model_index.json` says.
        tagger, enlarger, quick: each may be None.
    """

    def __init__(self, index: dict[str, Any], tagger: Any = None, enlarger: Any = None, quick: Any = None) -> None:
        self.config = SimpleNamespace(
            profiles=index.get("profiles") or {},
            default_profile=index.get("default_profile", "paper"),
            residual_decoding=index.get("residual_decoding", False),
        )
        self.vae = self.text_encoder = self.tokenizer = self.unet = self.controlnet = self.scheduler = None
        self.tagger, self.enlarger, self.quick = tagger, enlarger, quick
        self._has_diffusion = bool(index.get("unet", [None])[0])
        self._execution_device = torch.device("cpu")

    @property
    def has_diffusion(self) -> bool:
        """Whether the model has a diffusion part, which is not loaded here."""
        return self._has_diffusion

    def to(self, device: torch.device) -> "LightRestorer":
        """Move the networks to `device`, as a diffusers pipeline's `to` does."""
        for part in (self.tagger, self.enlarger, self.quick):
            if part is not None:
                part.to(device)
        self._execution_device = device
        return self


def resolve_settings(name: str, profile: str | None, given: Mapping[str, Any]) -> Settings:
    """The settings with which the model called `name` would restore, its weights untouched.

    Args:
        profile: None for the model's default. given: settings put over it.

    Raises:
        SeesrError: no such model, profile or setting, or a value that it cannot have, or an engine that it lacks.
    """
    with loading_errors(name):
        index = json.loads((resolve(name) / "model_index.json").read_text())
    settings = LightRestorer(index).settings(profile, **dict(given))
    # told here, before anything is loaded: what stands in the index takes the networks' place
    enlarger_of(SimpleNamespace(**{part: (index.get(part) or [None])[0] for part in PARTS.values()}), settings.engine)
    return settings


def load_restorer(
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    profile: str | None = None,
    steps: int | None = None,
    enlarger: Path | None = None,
    engine: Engine | None = None,
) -> Restorer:
    """The model called `name`, ready to restore with `profile`, or with `steps` denoising steps where they are given.

    Args:
        engine: the only one that will be asked for; None: any.
        enlarger: file of a network that takes the place of the model's enlargers (`seesr.checkpoints.foreign`).

    Raises:
        SeesrError: no such model or profile, a damaged model, or an enlarger that cannot be used.
    """
    foreign = None if enlarger is None else load_foreign_enlarger(enlarger, dtype)
    folder = resolve(name)
    with loading_errors(name):
        index = json.loads((folder / "model_index.json").read_text())
        chosen = LightRestorer(index).profile(profile)
        if not (chosen.num_inference_steps if steps is None else steps):
            parts = _LIGHT_PARTS if engine is None else ("tagger", PARTS[engine])
            light = _load_light(folder, index, dtype, parts if foreign is None else ("tagger",))
            light.enlarger = light.enlarger or foreign
            return light.to(device)
    return load_pipeline(name, dtype, device, foreign)


def load_tagger(name: str, dtype: torch.dtype, device: torch.device) -> Restorer:
    """The model called `name`, ready to tell tags: without its other networks.

    Raises:
        SeesrError: no such model, or a damaged one.
    """
    return load_parts(name, dtype, device, ("tagger",))


def load_parts(name: str, dtype: torch.dtype, device: torch.device, parts: tuple[str, ...]) -> LightRestorer:
    """`parts` of the model called `name`, of "tagger", "enlarger" and "quick"; those that it lacks are None.

    Raises:
        SeesrError: no such model, or a damaged one.
    """
    folder = resolve(name)
    with loading_errors(name):
        index = json.loads((folder / "model_index.json").read_text())
        return _load_light(folder, index, dtype, parts).to(device)


def _load_light(
    folder: Path, index: dict[str, Any], dtype: torch.dtype, parts: tuple[str, ...] = _LIGHT_PARTS
) -> LightRestorer:
    networks = {}
    for part in parts:
        library, class_name = index.get(part) or (None, None)
        if library == "seesr" and class_name:
            networks[part] = getattr(seesr, class_name).from_pretrained(
                folder / part, torch_dtype=part_dtype(class_name, dtype)
            )
    for enlarger in (networks.get(part) for part in PARTS.values()):
        if enlarger is not None:
            enlarger.to(memory_format=torch.channels_last)  # the faster layout for convolutions
    return LightRestorer(index, **networks)


def load_pipeline(
    name: str, dtype: torch.dtype, device: torch.device, enlarger: TiledEnlarger | None = None
) -> Restorer:
    """The model called `name` with all its networks; `enlarger`: in the place of its own.

    Raises:
        SeesrError: no such model, or a damaged one.
    """
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    from seesr.pipeline import SeeSRPipeline

    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    restorer: Restorer = SeeSRPipeline.from_pretrained(name, dtype=dtype, enlarger=enlarger).to(device)
    return restorer


def tagger_from_folder(folder: Path) -> "ConvTagger | Tagger":
    """The tagger of a tagger folder or of a model folder, in float32 and evaluation mode.

    Raises:
        SeesrError: there is none, or it is damaged.
    """
    from seesr.models.conv_tagger import ConvTagger
    from seesr.models.tagger import Tagger  # imports diffusers

    place = folder / "tagger" if (folder / "model_index.json").is_file() else folder
    if not (place / "config.json").is_file():
        raise SeesrError(f"{folder} holds no tagger; give the folder of a model or of a tagger (see 'seesr convert')")
    try:
        kind = ConvTagger if Tagger.load_config(place).get("_class_name") == "ConvTagger" else Tagger
        return kind.from_pretrained(place, torch_dtype=torch.float32).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SeesrError(f"{place}: the tagger cannot be loaded ({reason})") from error
