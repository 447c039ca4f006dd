"""For docs/python.md: where a docstring lists the settings when the program runs, the reference leads to their page.

An extension of griffe, which reads the docstrings from the source (mkdocs.yml names it).
"""

from typing import Any

import griffe


class SettingsElsewhere(griffe.Extension):
    """The counterpart of `seesr.restoration.signature.with_settings`."""

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        if func.docstring and "Settings:\n" in func.docstring.value:
            told = "Every one of the [settings](settings.md) is a keyword as well.\n"
            func.docstring.value = func.docstring.value.replace("Settings:\n", told)
