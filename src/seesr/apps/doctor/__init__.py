"""`seesr doctor`: what is here, what is missing, what a restoration would need, and the command that mends it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from seesr.apps.doctor.machine import examine_extras, examine_formats, examine_machine, examine_packages
from seesr.apps.doctor.models import examine_models
from seesr.apps.doctor.photo import examine_photo
from seesr.apps.doctor.report import Report, show


def doctor(
    photo: Annotated[
        Path | None, typer.Argument(help="What would restoring this one need?", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option(help="The model you want to use: as for upscale.")] = "mini",
    scale: Annotated[float, typer.Option(help="Of width and height.")] = 4.0,
    verify: Annotated[bool, typer.Option("--verify", help="Read all weights and compare hashes; slow.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Tell what is here, what is missing, and how to mend it. Exit code 0 if MODEL can be used, else 1."""
    report = examine(model, photo, scale, verify)
    if as_json:
        typer.echo(json.dumps({"usable": report.usable, **asdict(report)}, indent=2))
    else:
        show(report, model)
    raise typer.Exit(0 if report.usable else 1)


def examine(model: str, photo: Path | None = None, scale: float = 4.0, verify: bool = False) -> Report:
    """Look at this machine, the models and, with a photo, at what restoring it with `model` would take."""
    report = Report()
    examine_packages(report)
    if not report.usable:  # nothing below would run
        return report
    examine_machine(report)
    folder = examine_models(report, model, verify)
    examine_formats(report)
    examine_extras(report)
    if photo is not None:
        examine_photo(report, photo, model, folder, scale)
    return report
