"""What is known of one setting beside its value: kind, range, choices, option, help; and how a value of it is read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, get_args, get_origin

from seesr.errors import SeesrError
from seesr.restoration.regions import FORM, Region

Group = Literal["size", "semantics", "sampling", "tiles", "files"]
GROUPS: tuple[Group, ...] = get_args(Group)
Kind = Literal["integer", "number", "boolean", "text", "choice", "words", "interval", "bytes", "regions"]

T = TypeVar("T")


def setting(
    default: T,
    group: Group,
    option: str,
    help: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    in_profile: bool = True,
    diffusion: bool = True,
    kind: Kind | None = None,
) -> T:
    """A field of `Settings`.

    Args:
        option: its name on the command line, without dashes.
        minimum, maximum: both included. above: the least value, itself left out.
        in_profile: whether a profile may set it; others are said anew for every photo.
        diffusion: whether it has no effect where the diffusion part is left out.
        kind: None: as its type says.
    """
    metadata = {
        "group": group,
        "option": option,
        "help": help,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "in_profile": in_profile,
        "diffusion": diffusion,
        "kind": kind,
    }
    return field(default=default, metadata=metadata)


_WANTED: dict[Kind, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "on or off (True or False)",
    "text": "text",
    "words": "a list of words",
    "interval": "two numbers from 0 to 1, the smaller first",
    "bytes": "a size such as 4GB or 800MB",
    "regions": f"a list of {FORM}",
}
_SWITCH = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Spec:
    """What is known of one setting, for whoever shows or reads it."""

    name: str
    kind: Kind
    default: Any
    group: Group
    option: str
    help: str
    minimum: float | None
    above: float | None
    maximum: float | None
    in_profile: bool
    diffusion: bool
    choices: tuple[Any, ...] = ()

    @property
    def wanted(self) -> str:
        """What it takes, as the end of an error."""
        if self.kind == "choice":
            return f"give {', '.join(map(str, self.choices[:-1]))} or {self.choices[-1]}"
        text = f"give {_WANTED[self.kind]}"
        if self.above is not None:
            return f"{text} more than {self.above:g} and at most {self.maximum:g}"
        if self.minimum is not None and self.kind in ("integer", "number"):
            return text + (f" from {self.minimum} to {self.maximum}" if self.maximum else f", {self.minimum} or more")
        return text

    def check(self, value: Any) -> Any:
        """`value` in the type that the field has.

        Raises:
            SeesrError: it is of another kind, or out of range.
        """
        if value is None and self.default is None:
            return None
        try:
            found = self._typed(value)
        except (TypeError, ValueError):
            raise SeesrError(f"`{self.name}` cannot be {value!r}; {self.wanted}") from None
        for number in found if self.kind == "interval" else [found]:
            if isinstance(number, int | float) and (
                (self.minimum is not None and number < self.minimum)
                or (self.above is not None and number <= self.above)
                or (self.maximum is not None and number > self.maximum)
                or not math.isfinite(number)
            ):
                raise SeesrError(f"`{self.name}` cannot be {value!r}; {self.wanted}")
        return found

    def parse(self, text: str, separator: str = ",") -> Any:
        """The value written as `text`; lists are joined by `separator`.

        Raises:
            SeesrError: not a value of this setting.
        """
        value: Any = text
        try:
            if self.kind == "integer" or (self.kind == "choice" and isinstance(self.choices[0], int)):
                value = int(text)
            elif self.kind == "number":
                value = float(text)
            elif self.kind == "boolean":
                value = _SWITCH[text.strip().lower()]
            elif self.kind == "words":
                value = [word.strip() for word in text.split(separator) if word.strip()]
            elif self.kind == "interval":
                first, last = text.split(separator)
                value = (float(first), float(last))
            elif self.kind == "regions":  # of one, the numbers joined by the separator; of several, by semicolons
                value = [part.replace(separator, ",", 3) for part in text.split(";") if part.strip()]
        except (ValueError, KeyError):
            raise SeesrError(f"`{self.name}` cannot be {text!r}; {self.wanted}") from None
        return self.check(value)

    def _typed(self, value: Any) -> Any:
        match self.kind:
            case "integer" if isinstance(value, Integral) and not isinstance(value, bool):
                return int(value)
            case "number" if isinstance(value, Real) and not isinstance(value, bool):
                return float(value)
            case "boolean" if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy has its own
                return bool(value)
            case "text" if isinstance(value, str):
                return value
            case "choice":
                known = value.strip().lower() if isinstance(value, str) else value
                return self.choices[self.choices.index(known)]
            case "words" if isinstance(value, list | tuple | set | frozenset):
                if all(isinstance(word, str) for word in value):
                    return tuple(value)
            case "regions" if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
                return tuple(Region.parse(each).text for each in value)
            case "interval" if isinstance(value, list | tuple) and len(value) == 2:
                first, last = (float(number) for number in value)
                if first <= last:
                    return first, last
            case "bytes" if isinstance(value, str | int) and not isinstance(value, bool):
                return value
        raise TypeError

    def schema(self) -> dict[str, Any]:
        """As a JSON Schema property, with `group`, `option`, `in_profile` and `diffusion` beside."""
        entry: dict[str, Any] = {"title": self.name.replace("_", " "), "description": self.help}
        bounds = {"minimum": self.minimum, "exclusiveMinimum": self.above, "maximum": self.maximum}
        limits = {name: bound for name, bound in bounds.items() if bound is not None}
        match self.kind:
            case "choice":
                entry |= {"enum": list(self.choices)}
            case "words" | "regions":
                entry |= {"type": "array", "items": {"type": "string"}}
            case "interval":
                entry |= {"type": "array", "items": {"type": "number"} | limits, "minItems": 2, "maxItems": 2}
            case "bytes":
                entry |= {"type": ["string", "integer"]}
            case kind:
                entry |= {"type": "string" if kind == "text" else kind} | limits
        default = list(self.default) if isinstance(self.default, tuple) else self.default
        entry |= {"default": default, "group": self.group, "option": f"--{self.option}"}
        return entry | {"in_profile": self.in_profile, "diffusion": self.diffusion}

    @staticmethod
    def of(field: "Field[Any]", hint: Any) -> "Spec":
        """What a field made by `setting` says; hint: its type."""
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        told = dict(field.metadata)
        kind = told.pop("kind") or _kind(hint)
        return Spec(field.name, kind, field.default, choices=choices, **told)


def _kind(hint: Any) -> Kind:
    if get_origin(hint) is Literal:
        return "choice"
    kinds: dict[Any, Kind] = {
        int: "integer",
        float: "number",
        bool: "boolean",
        str: "text",
        tuple[float, float]: "interval",
        Sequence[str]: "words",
        Sequence[str] | None: "words",
        int | str | None: "bytes",
    }
    return kinds[hint]


def unknown_setting(name: str, known: Mapping[str, Any]) -> SeesrError:
    near = get_close_matches(name.lower().replace("-", "_"), known, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
    return SeesrError(f"no setting {name!r}; {hint}")
