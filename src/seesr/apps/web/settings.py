"""The settings that requests and the page may have, and their check."""

import dataclasses
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from seesr.apps.web.work import Wish
from seesr.restoration.restorer import Restorer


class RestoreSettings(BaseModel):
    """How to restore a photo. What is left out comes from the profile."""

    model_config = ConfigDict(extra="forbid")

    scale: float | None = Field(default=None, gt=0, le=16, description="Of width and height; 4 unless `to` is given.")
    to: int | None = Field(default=None, ge=1, le=32768, description="Pixels of the longer side, instead of `scale`.")
    profile: str | None = Field(default=None, description="Named settings of the model; see /v1/settings.")
    prompt: str = Field(default="", max_length=2000, description="Words of your own, added to the tags.")
    negative_prompt: str | None = Field(default=None, max_length=2000, description="What the picture must not be.")
    tags: list[str] | None = Field(
        default=None, max_length=200, description="Instead of those that DAPE sees; [] for none."
    )
    exclude_tags: list[str] = Field(default=[], max_length=200, description="Tags left out, whatever their origin.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="The same seed gives the same picture.")
    options: dict[str, Any] = Field(default={}, description="More settings, by the names in /v1/settings.")

    def wish(self) -> Wish:
        """As the restorer takes it."""
        settings = dict(self.options)
        for name in ("profile", "prompt", "negative_prompt", "tags", "exclude_tags", "seed"):
            settings[name] = getattr(self, name)
        return Wish(self.scale, self.to, settings)


def describe(restorer: Restorer) -> dict[str, Any]:
    """What the page needs to draw its form: profiles with their values, and the settings with their kinds."""
    names = sorted({"fast", "paper", *restorer.config.profiles})
    profiles = {}
    for name in names:
        settings = restorer.profile(name)
        if restorer.has_diffusion or not settings.num_inference_steps:
            profiles[name] = settings.to_dict()
    return {"profiles": profiles, "default_profile": restorer.config.default_profile, "fields": _fields(restorer)}


_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string"}
_ELSEWHERE = frozenset({"negative_prompt"})  # settings with a place of their own in `RestoreSettings`


def _fields(restorer: Restorer) -> list[dict[str, Any]]:
    """The settings that a form can show: name, label, type, help, and range or choices."""
    found = []
    for field in dataclasses.fields(restorer.profile(None)):
        kind = _KINDS.get(type(field.default))
        if kind and field.name not in _ELSEWHERE:
            found.append({"name": field.name, "label": field.name.replace("_", " "), "type": kind, "help": ""})
    return found
