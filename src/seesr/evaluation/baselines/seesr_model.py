"""SeeSR models and their ablations: any setting of the pipeline's call, RAM instead of DAPE, other sources of words."""

from collections.abc import Sequence
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
from seesr.loading import resolve_settings
from seesr.models.dape import plain_ram
from seesr.models.lora import lora_layers
from seesr.pipeline import SeeSRPipeline
from seesr.restoration.settings import find_setting

_TAGGERS = ("dape", "ram")
_FIXED = ("scale", "bits")
"""Settings that a test set decides."""


def parse_settings(text: str) -> dict[str, Any]:
    """`fast,start=noise,tags=cat+tree` → names and values; a word without `=` is the profile.

    Settings go by the library's names or by the command line's. Lists are joined by `+`; `tags=` means none at all.
    Beside them there are `tagger` (dape or ram) and `prompt`, which names a source of words (`make_source`).

    Raises:
        SeesrError: an unknown setting, or a value it cannot have.
    """
    settings: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or key == "profile":
            settings["profile"] = value if equals else key
        elif key in ("prompt", "tagger"):
            if key == "tagger" and value not in _TAGGERS:
                raise SeesrError(f"tagger cannot be {value!r}; give {' or '.join(_TAGGERS)}")
            settings[key] = value
        else:
            spec = find_setting(key)
            if spec.name in _FIXED:
                raise SeesrError(f"`{spec.name}` is decided by the test set; leave it out of {text!r}")
            parsed = spec.parse(value, "+")
            settings[spec.name] = list(parsed) if spec.kind == "words" else parsed
    return settings


def add_settings(own: str, settings: Sequence[str]) -> str:
    """A method's settings with more, each `key=value`; those that it names itself stay as they are.

    Raises:
        SeesrError: one is not of the form key=value, or as `parse_settings`.
    """
    named, parts = parse_settings(own), [own] if own else []
    for each in settings:
        key, equals, value = each.partition("=")
        if not equals:
            raise SeesrError(f"`settings`: {each!r} is not of the form key=value")
        text = f"{key.strip()}={value.strip().replace(',', '+')}"
        if not parse_settings(text).keys() & named.keys():
            parts.append(text)
    return ",".join(parts)


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
        given = dict(self.arguments)
        profile = given.pop("profile", None)
        exact = profile == "paper" or resolve_settings(self.model, profile, given).is_paper
        return choose_dtype("auto", self.device, exact)

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
                image: Image.Image = pipeline(case.image, **arguments).images[0]
                return image

        return restore_each(self.name, cases, self.device, enlarge)


@lru_cache(maxsize=1)
def _load(model: str, device: torch.device, dtype: torch.dtype) -> SeeSRPipeline:
    """One model is held at a time; its ablations share it."""
    pipeline: SeeSRPipeline = SeeSRPipeline.from_pretrained(model, dtype=dtype).to(device)
    return pipeline
