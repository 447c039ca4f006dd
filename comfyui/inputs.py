"""Widgets made of the one settings object, and their values read back.

A widget always has a value, but a setting may be left to the profile: `profile` says so in a list, -1 where there is a
number, and nothing where there is text.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from comfy_api.latest import io

from seesr.restoration.schedulers import SCHEDULERS
from seesr.restoration.settings import SPECS
from seesr.restoration.specs import Spec

AS_PROFILE = "profile"
UNSET = -1
NOTHING = "-"

_LARGEST = 2**53 - 1  # what JavaScript counts to
_MOST, _STEP = 100.0, 0.01  # of numbers with a fraction
_LONG = ("prompt", "negative_prompt", "added_prompt")


def setting_inputs(names: Iterable[str]) -> list[io.Input]:
    """A widget for each of the settings called `names`."""
    return [_input(SPECS[name]) for name in names]


def read_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the widgets say, in the settings' types and without what is left to the profile.

    Raises:
        SeesrError: a value that a setting cannot have.
    """
    read = {}
    for name, value in values.items():
        spec = SPECS[name]
        if value is None or value in ("", AS_PROFILE) or (spec.in_profile and value == UNSET):
            continue
        if spec.kind == "text" and isinstance(value, str) and value.strip() == NOTHING:
            value = ""
        read[name] = spec.parse(value) if isinstance(value, str) and spec.kind != "text" else spec.check(value)
    return read


def _input(spec: Spec) -> io.Input:
    common = {"display_name": spec.option.replace("-", " "), "tooltip": _tooltip(spec)}
    if spec.kind in ("integer", "number"):
        return _number(spec, common)
    if spec.kind == "boolean" and not spec.in_profile:
        return io.Boolean.Input(spec.name, default=spec.default, **common)
    choices = _choices(spec)
    if choices:
        return io.Combo.Input(spec.name, options=choices, default=choices[0], **common)
    return io.String.Input(spec.name, default="", multiline=spec.name in _LONG, **common)


def _number(spec: Spec, common: dict[str, str]) -> io.Input:
    default = UNSET if spec.in_profile else spec.default
    most = min(_LARGEST, spec.maximum or _LARGEST)
    least = UNSET if spec.in_profile else _STEP if spec.above is not None else spec.minimum or 0
    if spec.kind == "integer":
        fixed = {"control_after_generate": False}  # else the seed would change from run to run
        return io.Int.Input(spec.name, default=default, min=int(least), max=int(most), **fixed, **common)
    most = min(_MOST, most)
    return io.Float.Input(spec.name, default=default, min=least, max=most, step=_STEP, round=_STEP / 10, **common)


def _choices(spec: Spec) -> list[str]:
    """Entries of the list that a setting is chosen from; none where it is typed."""
    choices = [*SCHEDULERS] if spec.name == "scheduler" else [str(choice) for choice in spec.choices]
    if spec.kind == "boolean":
        choices = ["on", "off"]
    return [AS_PROFILE, *choices] if choices and spec.in_profile else choices


def _tooltip(spec: Spec) -> str:
    if not spec.in_profile:
        return spec.help
    if _choices(spec):
        return spec.help
    if spec.kind in ("integer", "number"):
        return f"{spec.help} {UNSET}: as the profile says."
    empty = f" {NOTHING}: no words at all." if spec.kind == "text" else ""
    return f"{spec.help} Empty: as the profile says.{empty}"
