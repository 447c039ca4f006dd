"""The settings spelled out in the signature and the docstring of a function that takes them as keywords."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from seesr.restoration.settings import SPECS, Settings

F = TypeVar("F", bound=Callable[..., Any])

_HEADING = "Settings:\n"


def with_settings(function: F) -> F:
    """For a function with `**settings`: help() and `inspect.signature` show each of them, with its own text.

    The docstring has a line "Settings:" below which they go.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(Settings)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[each.name] | None)
        for each in fields(Settings)
    ]
    vars(function)["__signature__"] = signature.replace(parameters=[*own, *keywords])
    lines = [
        textwrap.fill(f"{spec.name}: {spec.help}", 108, initial_indent=" " * 12, subsequent_indent=" " * 16)
        for spec in SPECS.values()
    ]
    function.__doc__ = (function.__doc__ or "").replace(_HEADING, _HEADING + "\n".join(lines) + "\n")
    return function
