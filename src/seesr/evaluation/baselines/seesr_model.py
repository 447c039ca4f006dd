"""SeeSR models and their ablations: any setting of the pipeline's call, RAM instead of DAPE, other sources of words."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

import torch
from PIL import Image
from torch import nn

from seesr.checkpoints.registry import resolve
from seesr.devices import choose_dtype
from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Case, Restored, fingerprint, restore_each
from seesr.evaluation.baselines.prompt_sources import PromptSource, make_source
from seesr.models.dape import plain_ram
from seesr.models.lora import lora_layers
from seesr.pipeline import SeeSRPipeline


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split("+") if word.strip()]


def _switch(text: str) -> bool:
    return {"on": True, "off": False}[text]


def _two_numbers(text: str) -> tuple[float, float]:
    first, second = map(float, text.split("+"))
    return first, second


def _tagger(text: str) -> str:
    return {"dape": "dape", "ram": "ram"}[text]


_SHORT = {
    "start": "start_point",
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "embedding": "use_image_embeds",
}
_SETTINGS: dict[str, Callable[[str], Any]] = {
    "profile": str,
    "negative_prompt": str,
    "added_prompt": str,
    "tags": _words,
    "exclude_tags": _words,
    "scheduler": str,
    "num_inference_steps": int,
    "guidance_scale": float,
    "guidance_interval": _two_numbers,
    "start_point": str,
    "fidelity": float,
    "color_fix": str,
    "process_size": int,
    "latent_tile_size": int,
    "latent_tile_overlap": int,
    "tile_batch_size": int,
    "tile_tags": _switch,
    "conditioning_scale": float,
    "use_image_embeds": _switch,
    "seed": int,
    "prompt": str,
    "tagger": _tagger,
}
_WANTED: dict[Callable[[str], Any], str] = {
    int: "a whole number",
    float: "a number",
    _switch: "on or off",
    _two_numbers: "two numbers, as in 0.2+0.8",
    _tagger: "dape or ram",
}


def parse_settings(text: str) -> dict[str, Any]:
    """`fast,start=noise,tags=cat+tree` → names and values; a word without `=` is the profile.

    Lists of tags are joined by `+`; `tags=` means none at all.

    Raises:
        SeesrError: an unknown setting, or a value it cannot have.
    """
    settings: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        key, value = (_SHORT.get(key, key), value) if equals else ("profile", key)
        if key not in _SETTINGS:
            raise SeesrError(f"no setting {key!r} in {text!r}; there are {', '.join((*_SHORT, *_SETTINGS))}")
        try:
            settings[key] = _SETTINGS[key](value)
        except (ValueError, KeyError):
            raise SeesrError(f"{key} cannot be {value!r}; give {_WANTED[_SETTINGS[key]]}") from None
    return settings


@dataclass(frozen=True)
class SeeSRModel:
    """A SeeSR model, loaded at the first picture.

    model: as `SeeSRPipeline.from_pretrained` takes it. arguments: of the pipeline's call.
    switches: the settings that are none of the call: `prompt` (source of the words) and `tagger`.
    source: of the prompt's words where they are not the tagger's.
    """

    name: str
    model: str
    arguments: dict[str, Any]
    switches: dict[str, str]
    source: PromptSource | None
    device: torch.device

    @staticmethod
    def parse(name: str, model: str, settings: str, device: torch.device) -> "SeeSRModel":
        """Raises SeesrError where `parse_settings` does, and for a prompt that has two sources."""
        arguments = {"seed": 0} | parse_settings(settings)
        switches = {key: arguments.pop(key) for key in ("prompt", "tagger") if key in arguments}
        kind, _, words = switches.get("prompt", "tags").partition(":")
        source = None
        if kind == "text":
            arguments["prompt"] = words
        elif kind != "tags":
            source = make_source(switches["prompt"], device)
            if "tags" in arguments:
                raise SeesrError(f"{name}: the prompt is made of tags or of {kind}, not of both; take tags= out")
        return SeeSRModel(name, model, arguments, switches, source, device)

    @cached_property
    def dtype(self) -> torch.dtype:
        return choose_dtype("auto", self.device, exact=self.arguments.get("profile") == "paper")

    @property
    def settings(self) -> dict[str, Any]:
        dtype = str(self.dtype).removeprefix("torch.")
        return {"model": self.model, "dtype": dtype} | self.arguments | self.switches

    @cached_property
    def identity(self) -> str:
        place = resolve(self.model)
        weights = fingerprint(place) if place.is_dir() else self.model
        words = f" {self.source.identity}" if self.source is not None else ""
        return f"{self.device.type} {sorted(self.settings.items())} {weights}{words}"

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        pipeline = _load(self.model, self.device, self.dtype)
        pipeline.profile(self.arguments.get("profile"))  # tells of an unknown one before any work
        plain = self.switches.get("tagger") == "ram"
        if plain and (pipeline.tagger is None or not lora_layers(pipeline.tagger)):
            raise SeesrError(f"{self.name}: {self.model} has no DAPE that could be switched off")
        if self.arguments.get("use_image_embeds") is False and pipeline.unet is None:
            raise SeesrError(f"{self.name}: {self.model} has no diffusion part that an embedding could guide")

        def enlarge(case: Case) -> Image.Image:
            arguments = self.arguments | {"scale": scale}
            if self.source is not None:
                arguments |= {"tags": [], "prompt": self.source.text_for(case)}
            with plain_ram(cast(nn.Module, pipeline.tagger)) if plain else nullcontext():
                return pipeline(case.image, **arguments).images[0]

        return restore_each(self.name, cases, self.device, enlarge)


@lru_cache(maxsize=1)
def _load(model: str, device: torch.device, dtype: torch.dtype) -> SeeSRPipeline:
    """One model at a time is held; ablations of it share it."""
    return SeeSRPipeline.from_pretrained(model, dtype=dtype).to(device)
