"""The settings that a request may have: those of the one settings object, a profile, and a target size."""

from collections.abc import Mapping
from typing import Any

from seesr.apps.web.work import Wish
from seesr.errors import SeesrError
from seesr.restoration.engines import PARTS
from seesr.restoration.restorer import Restorer
from seesr.restoration.settings import describe_settings

SERVERS_OWN = frozenset({"memory", "bits"})
"""Settings that are the server's affair, not the visitor's."""

_ON_PAGE = frozenset({"scale", "prompt", "tags", "exclude_tags", "seed", "regions"})  # not among the page's fields
_OTHERS: dict[str, dict[str, Any]] = {
    "profile": {"type": "string", "description": "Named settings of the model; the others here override them."},
    "to": {
        "type": "integer",
        "minimum": 1,
        "maximum": 32768,
        "description": "Pixels of the longer side, instead of scale.",
    },
}


def schema() -> dict[str, Any]:
    """The settings of a request as JSON Schema."""
    fields = {name: field for name, field in describe_settings().items() if name not in SERVERS_OWN}
    return {"type": "object", "properties": _OTHERS | fields, "additionalProperties": False}


def read_wish(given: Mapping[str, Any], restorer: Restorer) -> Wish:
    """The settings of a request, checked against the model.

    Raises:
        SeesrError: an unknown setting or profile, a value out of range, or a part that this server runs without.
    """
    values = {name: value for name, value in given.items() if value is not None}
    if forbidden := SERVERS_OWN & values.keys():
        raise SeesrError(f"`{min(forbidden)}` is set by the server")
    profile, longest = values.pop("profile", None), values.pop("to", None)
    if profile is not None and not isinstance(profile, str):
        raise SeesrError(f"`profile` cannot be {profile!r}; give a name")
    if longest is not None and (not isinstance(longest, int) or not 1 <= longest <= _OTHERS["to"]["maximum"]):
        raise SeesrError(f"`to` cannot be {longest!r}; give pixels from 1 to {_OTHERS['to']['maximum']}")
    if longest is not None and "scale" in values:
        raise SeesrError("`to` and `scale` exclude each other; give one of them")
    settings = restorer.settings(profile, **values)
    if settings.num_inference_steps and restorer.unet is None:
        raise SeesrError("this server runs without the diffusion part; use the profile fast")
    return Wish(profile, longest, values)


def describe(restorer: Restorer) -> dict[str, Any]:
    """What the page needs to draw its form: profiles with their values, and the settings as JSON Schema properties.

    dialled: the engines for which `detail` counts.
    """
    names = sorted({"fast", "paper", *restorer.config.profiles})
    profiles = {}
    for name in names:
        settings = restorer.profile(name)
        if restorer.unet is not None or not settings.num_inference_steps:
            profiles[name] = settings.to_dict()
    hidden = SERVERS_OWN | _ON_PAGE
    networks = {engine: getattr(restorer, part) for engine, part in PARTS.items()}
    dialled = [engine for engine, network in networks.items() if network is not None and network.ends is not None]
    if not dialled:
        hidden |= {"detail"}
    if restorer.quick is None:
        hidden |= {"engine"}
    fields = {name: field for name, field in describe_settings().items() if name not in hidden}
    default = restorer.config.default_profile
    return {"profiles": profiles, "default_profile": default, "fields": fields, "dialled": dialled}
