"""The settings as options of a command: one for each, made of the fields of `Settings`, in panels by group.

Also the way back: messages name the library's parameters in backquotes, and here they get the options' names.
"""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from seesr.restoration.settings import SPECS
from seesr.restoration.specs import Spec

C = TypeVar("C", bound=Callable[..., None])

PANELS = {"size": "Size", "semantics": "Semantics", "sampling": "Sampling", "tiles": "Tiles", "files": "Files"}
"""Titles of the panels in --help, by group."""

_SAME = (
    *("device", "dtype", "enlarger", "ext", "fit", "keep", "max_pixels", "model", "overwrite", "profile", "quality"),
    *("samples", "strip", "suffix"),
    *("against", "archive", "degrade", "detector", "instances", "limit", "panoptic", "segmenter"),  # measuring
    *("allowed_failures", "checks", "host", "hr", "lr", "mode", "photos", "port", "questions", "real"),  # the study
    *("license", "license_file"),  # the hub
)
"""Parameters whose options have their names."""
_OPTIONS = (
    {spec.name: f"--{spec.option}" for spec in SPECS.values()}
    | {name: "--" + name.replace("_", "-") for name in _SAME}
    | {"longest": "--to", "purpose": "--for", "known": "--set", "methods": "--method", "settings": "--set"}
)
"""Options by the parameters' names; no name means another option in another command."""
_NAMED = re.compile(f"`({'|'.join(_OPTIONS)})`")


def in_options(message: str) -> str:
    """A message with the command line's options in place of the library's parameters."""
    return _NAMED.sub(lambda found: _OPTIONS[found[1]], message)


def with_setting_options(command: C) -> C:
    """Give a command that takes `**settings` an option for every setting; those not given are None.

    Texts are as typed: `read_settings` brings them to the settings' types.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    made = [
        inspect.Parameter(spec.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(spec))
        for spec in SPECS.values()
    ]
    ordered = sorted((p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *made)), key=_panel)
    vars(command)["__signature__"] = signature.replace(parameters=ordered)
    command.__annotations__ = {p.name: p.annotation for p in ordered}
    return command


def _panel(parameter: inspect.Parameter) -> int:
    """Its place among the panels; what stands in none comes first."""
    title = getattr(parameter.annotation.__metadata__[0], "rich_help_panel", None)
    return [None, *PANELS.values()].index(title)


def read_settings(given: dict[str, Any]) -> dict[str, Any]:
    """What `with_setting_options` passed on, in the settings' types and without those not given.

    Raises:
        SeesrError: a value that a setting cannot have.
    """
    values = {name: value for name, value in given.items() if value is not None and value != []}
    return {
        name: SPECS[name].parse(value) if isinstance(value, str) else SPECS[name].check(value)
        for name, value in values.items()
    }


def _annotation(spec: Spec) -> Any:
    kinds: dict[str, Any] = {"integer": int, "number": float, "boolean": bool}
    kind: Any = list[str] if spec.kind == "regions" else kinds.get(spec.kind, str)
    names = [f"--{spec.option}/--no-{spec.option}" if spec.kind == "boolean" else f"--{spec.option}"]
    metavars = {"words": "a,b,…", "interval": "FROM,TO", "bytes": "SIZE", "regions": "X,Y,W,H: WORDS"}
    metavars["choice"] = "|".join(map(str, spec.choices))
    option = typer.Option(
        *names, help=spec.help, rich_help_panel=PANELS[spec.group], metavar=metavars.get(spec.kind), show_default=False
    )
    return Annotated[kind | None, option]
