"""Training configs: a YAML file and `key=value` overrides, read strictly into a dataclass.

An unknown key, a value of the wrong type and a missing key are errors that name the key; combinations that make no
sense are refused by the dataclass itself, in its `__post_init__`.
"""

import dataclasses
import difflib
import re
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from seesr.errors import SeesrError

Config = TypeVar("Config")


def load_config(config_type: type[Config], file: Path, overrides: Iterable[str] = ()) -> Config:
    """Read `file` and the overrides, later ones winning, into the dataclass `config_type`.

    Args:
        config_type: dataclass of scalars, `Literal`, `X | None`, lists, tuples, `dict[str, X]` and further dataclasses.
        file: YAML mapping.
        overrides: `key=value`, the value in YAML; a dotted key reaches into a nested mapping (`loss.dists=0.3`).

    Raises:
        SeesrError: no such file, no YAML, an unknown or missing key, a wrong type, a refused combination.
    """
    try:
        values = yaml.safe_load(file.read_text())
    except OSError as error:
        raise SeesrError(f"cannot read the config {file} ({error.strerror}); give a YAML file") from None
    except yaml.YAMLError as error:
        raise SeesrError(f"{file} is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise SeesrError(f"{file} holds no `key: value` lines; give a YAML mapping")
    for override in overrides:
        _apply(override, values)
    config: Config = _convert(values, config_type, "", str(file))
    return config


def _apply(override: str, values: dict[str, Any]) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise SeesrError(f"{override!r} is no override; write key=value")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise SeesrError(f"{key}: {parent} holds a single value and nothing below it")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SeesrError(f"{key}: {text!r} is no valid YAML value") from None


def _convert(value: Any, wanted: Any, key: str, file: str) -> Any:
    """`value` as the type `wanted`; `key` is its dotted path in `file`."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if dataclasses.is_dataclass(wanted):
        return _convert_dataclass(value, wanted, key, file)
    if origin in (Union, types.UnionType):  # X | None
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _convert(value, inner, key, file)
    if origin is Literal and value in arguments:
        return value
    if origin is list and isinstance(value, list):
        return [_convert(item, arguments[0], f"{key}[{i}]", file) for i, item in enumerate(value)]
    if origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        return tuple(_convert(item, kind, f"{key}[{i}]", file) for i, (item, kind) in enumerate(zip(value, arguments)))
    if origin is dict and isinstance(value, dict):
        return {str(name): _convert(item, arguments[1], f"{key}.{name}", file) for name, item in value.items()}
    if wanted is float and (type(value) in (int, float) or _is_power_of_ten(value)):
        return float(value)
    if wanted in (int, bool, str) and type(value) is wanted:
        return value
    raise SeesrError(f"{file}: {key} is {value!r}; expected {_describe(wanted)}")


def _convert_dataclass(value: Any, wanted: Any, key: str, file: str) -> Any:
    if not isinstance(value, dict):
        raise SeesrError(f"{file}: {key} is {value!r}; expected a mapping")
    prefix = f"{key}." if key else ""
    hints = get_type_hints(wanted)
    fields = {field.name: field for field in dataclasses.fields(wanted)}
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, 1)
            advice = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(sorted(fields))}"
            raise SeesrError(f"{file}: unknown key {prefix}{name}; {advice}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in value and not optional:
            raise SeesrError(f"{file}: the key {prefix}{name} is missing; it has no default")
    return wanted(**{name: _convert(item, hints[name], f"{prefix}{name}", file) for name, item in value.items()})


def _is_power_of_ten(value: Any) -> bool:
    """Whether this is a number like 1e-4, which YAML 1.1 takes for a text because it has no decimal point."""
    return isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value, re.IGNORECASE) is not None


def _describe(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(str, get_args(wanted)))
    return {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}.get(wanted, str(wanted))
