"""`seesr upscale` and `seesr tags`: photos restored, and what is seen in them."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from seesr.apps.models import Device, Dtype, Model, load_model
from seesr.apps.options import PANELS, in_options, read_settings, with_setting_options
from seesr.errors import SeesrError

Inputs = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]

_SIZE, _FILES, _SAMPLING = PANELS["size"], PANELS["files"], PANELS["sampling"]


@with_setting_options
def upscale(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="A file for one photo, else a folder.")],
    model: Model = "mini",
    profile: Annotated[
        str | None, typer.Option(help="Named settings: fast, paper, or the model's own, which are its default.")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    to: Annotated[
        int | None, typer.Option(min=1, help="Pixels of the longer side, instead of --scale.", rich_help_panel=_SIZE)
    ] = None,
    fit: Annotated[
        str | None, typer.Option(metavar="WxH", help="Just fits in there, instead of --scale.", rich_help_panel=_SIZE)
    ] = None,
    ext: Annotated[
        str | None, typer.Option(help="png, jpg, webp, …; default: as the photo.", rich_help_panel=_FILES)
    ] = None,
    suffix: Annotated[
        str, typer.Option(help="Put after the photo's name in an output folder.", rich_help_panel=_FILES)
    ] = "",
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="1 to 100, of JPEG, WebP and AVIF.", rich_help_panel=_FILES)
    ] = 95,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Refuse photos with more.", rich_help_panel=_FILES)
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write a side-by-side with the photo as well.", rich_help_panel=_FILES)
    ] = False,
    save_prompts: Annotated[
        bool,
        typer.Option(
            "--save-prompts", help="Write tags, prompts and settings beside each result.", rich_help_panel=_FILES
        ),
    ] = False,
    **settings: Any,
) -> None:
    """Restore photos: a file or a folder in, the same tree out."""
    from seesr.apps.folder import plan_jobs

    jobs = plan_jobs(inputs, output, suffix, ext)  # a wrong path is told at once, before the slow imports
    scale, size = settings.pop("scale"), _size(fit)  # one of three ways to say it, judged together
    given = read_settings(settings)
    from seesr.apps.progress import console
    from seesr.apps.restore import RestoreOptions, restore_files
    from seesr.loading import load_restorer, resolve_settings
    from seesr.photos.files import MAX_PIXELS
    from seesr.photos.sixteen_bit import check_deep

    bits = given.pop("bits", 8)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    told = given | {"profile": profile}
    options = RestoreOptions(limit, scale, to, size, quality, bits, compare, told, save_prompts=save_prompts)
    if bits == 16:
        for job in jobs:
            check_deep(job.target)
    resolved = resolve_settings(model, profile, given)
    exact = resolved.is_paper or profile == "paper" or bits == 16
    restorer = load_model(
        load_restorer, model, device, dtype, exact, profile=profile, steps=resolved.num_inference_steps
    )
    for note in restorer.remarks(profile, given):
        console.print(f"note: {in_options(note)}", soft_wrap=True, markup=False)
    restore_files(restorer, jobs, options)


def tags(inputs: Inputs, model: Model = "mini", device: Device = "auto", dtype: Dtype = "auto") -> None:
    """Print what DAPE sees in each photo, with probabilities."""
    from seesr.apps.folder import find_photos
    from seesr.loading import load_tagger
    from seesr.photos.photo import read_photo

    restorer = load_model(load_tagger, model, device, dtype, exact=True)
    if restorer.tagger is None:
        raise SeesrError(f"{model} has no tagger yet; give a model that has, with --model")
    for path in inputs:
        for photo in find_photos(path) if path.is_dir() else [path]:
            found, _ = restorer.see(read_photo(photo).rgb)
            typer.echo(f"{photo}: " + ", ".join(f"{tag.name} {tag.probability:.2f}" for tag in found))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[xX](\d+)", text.strip())
    if not match:
        raise SeesrError(f"--fit cannot be {text!r}; give two sides, as in 1920x1080")
    return int(match[1]), int(match[2])
