"""Write what is made of the settings: docs/settings.md and the types of the call's keywords.

python docs/write_settings.py [--check]
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from seesr.restoration.profiles import ENLARGER_ONLY, FAST, PAPER, TURBO
from seesr.restoration.settings import SPECS, Settings
from seesr.restoration.specs import GROUPS, Spec

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"
KEYWORDS = ROOT / "src" / "seesr" / "restoration" / "keywords.py"

_INTRO = """# Settings

Written by `python docs/write_settings.py` from `seesr/restoration/settings.py`.

Every setting can be given everywhere: in Python as a keyword of the pipeline's call, on the command line as an option
of `seesr upscale`, and by either name in `seesr evaluate --set name=value` and `--method model:profile,name=value`.
What is not given comes from the profile. A profile is a named set of settings, chosen with `profile=` or `--profile`.
The defaults below are the paper's, which is the profile `paper` of every model. Case does not matter in choices.
"""
_KEYWORDS = '''"""The settings as keywords, for type checkers. Written by docs/write_settings.py; do not edit."""

from collections.abc import Sequence
from typing import TypedDict

from seesr.restoration.settings import Bits, ColorFix, Engine, StartPoint, TileBlend


class SettingsKeywords(TypedDict, total=False):
    """Every setting of `seesr.restoration.settings.Settings`; None leaves it to the profile."""

'''


def settings_page() -> str:
    """docs/settings.md."""
    parts = [_INTRO]
    for group in GROUPS:
        rows = ["| Python | command line | default | |", "|---|---|---|---|"]
        for spec in (spec for spec in SPECS.values() if spec.group == group):
            rows.append(f"| `{spec.name}` | `--{spec.option}` | {_shown(spec.default)} | {_text(spec)} |")
        parts.append(f"## {group.capitalize()}\n\n" + "\n".join(rows) + "\n")
    parts.append(_profiles())
    return "\n".join(parts)


def keywords_module() -> str:
    """src/seesr/restoration/keywords.py."""
    types = {field.name: _written(field.type) for field in fields(Settings)}
    lines = [f"    {name}: {type if type.endswith('| None') else f'{type} | None'}" for name, type in types.items()]
    return _KEYWORDS + "\n".join(lines) + "\n"


def _written(annotation: object) -> str:
    from seesr.restoration import settings

    for name in ("StartPoint", "ColorFix", "TileBlend", "Bits", "Engine"):
        if annotation == getattr(settings, name):
            return name
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return text.replace("collections.abc.", "")


def _shown(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " to ".join(f"{number:g}" for number in value)
    if isinstance(value, float):
        return f"{value:g}"
    return "empty" if value == "" else str(value)


def _text(spec: Spec) -> str:
    text = spec.help
    if spec.choices:
        text += f" One of {', '.join(map(str, spec.choices))}."
    elif spec.kind in ("integer", "number") and spec.maximum is not None and spec.above is None and spec.name != "seed":
        text += f" From {spec.minimum:g} to {spec.maximum:g}."
    return text.replace("|", "\\|")


def _profiles() -> str:
    rows = ["| Profile | what differs from the paper |", "|---|---|", "| `paper` | nothing |"]
    names = {
        "`fast` of a model with the paper's networks": FAST,
        "`fast` of a two-step model": TURBO,
        "`fast` of a model with an enlarger alone": ENLARGER_ONLY,
    }
    for name, settings in names.items():
        changed = [
            f"`{key}` {_shown(getattr(settings, key))}"
            for key in SPECS
            if getattr(settings, key) != getattr(PAPER, key)
        ]
        rows.append(f"| {name} | {', '.join(changed)} |")
    return "## Profiles\n\n" + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    for path, text in ((PAGE, settings_page()), (KEYWORDS, keywords_module())):
        if not check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            sys.exit(f"{path}: not up to date; run python docs/write_settings.py")


if __name__ == "__main__":
    main()
