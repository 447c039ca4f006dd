"""`seesr tags`: what is seen in photos, and where."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesr.apps.models import Device, Dtype, Model, load_model
from seesr.errors import SeesrError
from seesr.system.shown import shown

if TYPE_CHECKING:
    from seesr.models.tagging import Tag
    from seesr.restoration.restorer import Restorer


def tags(
    inputs: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)],
    model: Model = "mini",
    device: Device = "auto",
    dtype: Dtype = "auto",
    sheets: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="PATH",
            help="Draw where in the photo each tag is seen: a file for one photo, else a folder.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that seesr did not write.")] = False,
) -> None:
    """Print what DAPE sees in each photo, with probabilities."""
    from seesr.apps.jobs.folder import find_photos, plan_jobs
    from seesr.apps.jobs.outputs import recorded
    from seesr.apps.jobs.restore import reason_of
    from seesr.apps.progress import say
    from seesr.loading import load_tagger

    jobs: list[tuple[Path, Path | None]]
    record: AbstractContextManager[None]
    if sheets is None:
        photos = [photo for path in inputs for photo in (find_photos(path) if path.is_dir() else [path])]
        jobs, record = [(photo, None) for photo in photos], nullcontext()
    else:
        plan = plan_jobs(inputs, sheets, suffix="-tags", ext="png")
        plan.check(overwrite)
        jobs, record = [(job.source, job.target) for job in plan], recorded(plan.folder, overwrite=overwrite)
    restorer = load_model(load_tagger, model, device, dtype, exact=True)
    if restorer.tagger is None:
        raise SeesrError(f"{model} has no tagger yet; give a model that has, with --model")
    failed = 0
    with record:
        for path, sheet in jobs:
            try:
                found = _look(restorer, path, sheet)
            except Exception as error:
                if len(jobs) == 1:
                    raise
                failed += 1
                reason = reason_of(error)
                say(f"failed: {reason if str(path) in reason else f'{path}: {reason}'}", "red")
            else:
                typer.echo(shown(f"{path}: " + ", ".join(f"{tag.name} {tag.probability:.2f}" for tag in found)))
                if sheet is not None:
                    say(f"{sheet}: written")
    if failed:
        raise SeesrError(f"{failed} of {len(jobs)} photos failed, as told above")


def _look(restorer: "Restorer", path: Path, sheet: Path | None) -> "list[Tag]":
    """The tags of a photo; their maps go into the picture `sheet`."""
    from seesr.photos.photo import read_photo

    photo = read_photo(path).rgb
    if sheet is None:
        return restorer.see(photo)[0]
    from seesr.photos.files import write_photo
    from seesr.restoration.tag_sheet import draw_tags

    found, maps = restorer.look_where(photo)
    write_photo(draw_tags(photo, found, maps), sheet)
    return found
