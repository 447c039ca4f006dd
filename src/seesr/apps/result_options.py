"""The options that say what results are like and where they go, shared by the commands that restore folders."""

import re
from pathlib import Path
from typing import Annotated

import typer

from seesr.apps.options import PANELS
from seesr.errors import SeesrError

LOOKED_AT = 1000
"""Photos whose heads are read for 16 bits before a job starts, which then works in float32."""

_SIZE, _FILES = PANELS["size"], PANELS["files"]

Profile = Annotated[
    str | None, typer.Option(help="Named settings: fast, paper, or the model's own, which are its default.")
]
Enlarger = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Another project's network in the place of the model's enlarger, as spandrel reads them.",
        show_default=False,
    ),
]
To = Annotated[
    int | None, typer.Option(min=1, help="Pixels of the longer side, instead of --scale.", rich_help_panel=_SIZE)
]
Fit = Annotated[
    str | None, typer.Option(metavar="WxH", help="Just fits in there, instead of --scale.", rich_help_panel=_SIZE)
]
Purpose = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="NAME",
        help="hd, 4k, 8k, print-10x15, print-a5, print-a4 or print-a3, instead of --scale.",
        rich_help_panel=_SIZE,
    ),
]
NoEnlarge = Annotated[
    bool, typer.Option("--no-enlarge", help="No result is larger than its photo.", rich_help_panel=_SIZE)
]
OnlySmaller = Annotated[
    bool, typer.Option("--only-smaller", help="Leave photos alone that are as large already.", rich_help_panel=_SIZE)
]
Ext = Annotated[str | None, typer.Option(help="png, jpg, webp, …; default: as the photo.", rich_help_panel=_FILES)]
Suffix = Annotated[str, typer.Option(help="Put after the photo's name in an output folder.", rich_help_panel=_FILES)]
Quality = Annotated[int, typer.Option(min=1, max=100, help="1 to 100, of JPEG, WebP and AVIF.", rich_help_panel=_FILES)]
MaxPixels = Annotated[int | None, typer.Option(min=1, help="Refuse photos with more.", rich_help_panel=_FILES)]
Compare = Annotated[
    bool, typer.Option("--compare", help="Write a side-by-side with the photo as well.", rich_help_panel=_FILES)
]
SavePrompts = Annotated[
    bool,
    typer.Option("--save-prompts", help="Write tags, prompts and settings beside each result.", rich_help_panel=_FILES),
]
WriteTags = Annotated[
    bool, typer.Option("--write-tags", help="Put the tags seen among the keywords.", rich_help_panel=_FILES)
]
StripOption = Annotated[
    str, typer.Option(metavar="all|location", help="Metadata left out.", rich_help_panel=_FILES, show_default=False)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Do again what is done; replace any file.", rich_help_panel=_FILES)
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Tell what would be done, and how long it would take.", rich_help_panel=_FILES),
]


def check_engine(enlarger: Path | None, engine: str) -> None:
    """Refuse a network of one's own for the engine that is not used.

    Raises:
        SeesrError: there is one, and the engine is quick.
    """
    if enlarger is not None and engine != "fine":
        raise SeesrError(f"--enlarger takes the place of the engine fine; leave it out, or leave out --engine {engine}")


def read_size(text: str | None) -> tuple[int, int] | None:
    """(width, height) of what --fit was given.

    Raises:
        SeesrError: it is no size.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[xX](\d+)", text.strip())
    if not match:
        raise SeesrError(f"--fit cannot be {text!r}; give two sides, as in 1920x1080")
    return int(match[1]), int(match[2])
