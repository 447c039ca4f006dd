"""Models loaded with no more of them than a restoration needs.

Where the profile leaves the diffusion part out (the embedded model's `fast` does) only the tagger and the enlarger are
read, and neither diffusers nor transformers is imported: they take longer than restoring a small photo.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError

import seesr
from seesr.checkpoints.registry import resolve
from seesr.errors import SeesrError
from seesr.restoration import Restorer

_LIGHT_PARTS = ("tagger", "enlarger")


class LightRestorer(Restorer):
    """Tagger and enlarger of a model; restores with profiles that take no denoising step, and tells tags.

    Args:
        index: what the model's `model_index.json` says.
        tagger, enlarger: either may be None.
    """

    def __init__(self, index: dict[str, Any], tagger: Any = None, enlarger: Any = None) -> None:
        self.config = SimpleNamespace(
            profiles=index.get("profiles") or {},
            default_profile=index.get("default_profile", "paper"),
            residual_decoding=index.get("residual_decoding", False),
        )
        self.vae = self.text_encoder = self.tokenizer = self.unet = self.controlnet = self.scheduler = None
        self.tagger, self.enlarger = tagger, enlarger
        self._has_diffusion = bool(index.get("unet", [None])[0])
        self._execution_device = torch.device("cpu")

    @property
    def has_diffusion(self) -> bool:
        """Whether the model has a diffusion part, which is not loaded here."""
        return self._has_diffusion

    def to(self, device: torch.device) -> "LightRestorer":
        """Move the networks to `device`, as a diffusers pipeline's `to` does."""
        for part in (self.tagger, self.enlarger):
            if part is not None:
                part.to(device)
        self._execution_device = device
        return self


def load_restorer(
    name: str, dtype: torch.dtype, device: torch.device, profile: str | None = None, steps: int | None = None
) -> Restorer:
    """The model called `name`, ready to restore with `profile`, or with `steps` denoising steps where they are given.

    Raises:
        SeesrError: no such model or profile, or a damaged model.
    """
    folder = resolve(name)
    with loading_errors(name):
        index = json.loads((folder / "model_index.json").read_text())
        chosen = LightRestorer(index).profile(profile)
        if not (chosen.num_inference_steps if steps is None else steps):
            return _load_light(folder, index, dtype).to(device)
    return _load_whole(name, dtype, device)


def load_tagger(name: str, dtype: torch.dtype, device: torch.device) -> Restorer:
    """The model called `name`, ready to tell tags: without its other networks.

    Raises:
        SeesrError: no such model, or a damaged one.
    """
    folder = resolve(name)
    with loading_errors(name):
        index = json.loads((folder / "model_index.json").read_text())
        return _load_light(folder, index, dtype, parts=("tagger",)).to(device)


@contextmanager
def loading_errors(name: str) -> Iterator[None]:
    """Turn whatever a damaged model makes libraries raise into a SeesrError that names the model."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise SeesrError(f"{name}: the model cannot be loaded ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _load_light(
    folder: Path, index: dict[str, Any], dtype: torch.dtype, parts: tuple[str, ...] = _LIGHT_PARTS
) -> LightRestorer:
    networks = {}
    for part in parts:
        library, class_name = index.get(part) or (None, None)
        if library == "seesr" and class_name:
            networks[part] = getattr(seesr, class_name).from_pretrained(folder / part, torch_dtype=dtype)
    if (enlarger := networks.get("enlarger")) is not None:
        enlarger.to(memory_format=torch.channels_last)  # the faster layout for convolutions
    return LightRestorer(index, **networks)


def _load_whole(name: str, dtype: torch.dtype, device: torch.device) -> Restorer:
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    from seesr.pipeline import SeeSRPipeline

    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    return SeeSRPipeline.from_pretrained(name, dtype=dtype).to(device)
