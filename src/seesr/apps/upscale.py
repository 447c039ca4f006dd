"""`seesr upscale`: photos restored."""

import os
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from seesr.apps.models import Device, Dtype, Model, load_model
from seesr.apps.options import PANELS, in_options, read_settings, with_setting_options
from seesr.apps.result_options import (
    LOOKED_AT,
    Compare,
    DryRun,
    Enlarger,
    Ext,
    Fit,
    MaxPixels,
    NoEnlarge,
    OnlySmaller,
    Overwrite,
    Profile,
    Purpose,
    Quality,
    SavePrompts,
    StripOption,
    Suffix,
    To,
    WriteTags,
    check_engine,
    read_size,
)
from seesr.errors import SeesrError
from seesr.system.threads import import_beside

if TYPE_CHECKING:
    from seesr.photos.metadata import Strip
    from seesr.restoration.restorer import Restorer

Inputs = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]

_SAMPLING = PANELS["sampling"]


@with_setting_options
def upscale(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="A file for one photo, else a folder.")],
    model: Model = "mini",
    profile: Profile = None,
    enlarger: Enlarger = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    to: To = None,
    fit: Fit = None,
    ext: Ext = None,
    suffix: Suffix = "",
    quality: Quality = 95,
    max_pixels: MaxPixels = None,
    compare: Compare = False,
    samples: Annotated[
        int,
        typer.Option(
            min=1, help="Restore so many times, from --seed on: photo-1.png, photo-2.png, …", rich_help_panel=_SAMPLING
        ),
    ] = 1,
    keep: Annotated[
        str,
        typer.Option(metavar="all|best", help="Of the samples; best: the lowest NIQE.", rich_help_panel=_SAMPLING),
    ] = "all",
    save_prompts: SavePrompts = False,
    purpose: Purpose = None,
    no_enlarge: NoEnlarge = False,
    only_smaller: OnlySmaller = False,
    write_tags: WriteTags = False,
    strip: StripOption = "none",
    overwrite: Overwrite = False,
    dry: DryRun = False,
    **settings: Any,
) -> None:
    """Restore photos: a file or a folder in, the same tree out."""
    from seesr.apps.jobs.folder import numbered_plans, plan_jobs

    keep = keep.strip().lower()
    if keep not in ("all", "best"):
        raise SeesrError(f"--keep cannot be {keep!r}; give all or best")
    if any(map(os.path.isdir, inputs)):
        import_beside("torch")  # while the names are read
    plans = [plan_jobs(inputs, output, suffix, ext, compare)]  # wrong paths are told at once, before the slow imports
    if samples > 1 and keep == "all":
        plans = numbered_plans(plans[0], inputs, output, suffix, ext, compare, samples)
    for plan in plans:
        plan.check(overwrite, save_prompts)
    plan = plans[0]
    scale, size = settings.pop("scale"), read_size(fit)  # one of several ways to say it, judged together
    given = read_settings(settings)
    from seesr.apps.jobs.dry_run import dry_run, long_job_note
    from seesr.apps.jobs.restore import RestoreOptions
    from seesr.apps.jobs.run import make_recipe, run_plan
    from seesr.apps.progress import say
    from seesr.checkpoints.registry import resolve
    from seesr.devices import choose_device, choose_dtype
    from seesr.loading import load_restorer, resolve_settings
    from seesr.photos.decode import holds_sixteen_bits
    from seesr.photos.files import MAX_PIXELS
    from seesr.photos.sixteen_bit import SIXTEEN_BIT_SUFFIXES, check_sixteen

    bits = given.pop("bits", None)
    options = RestoreOptions(
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
        scale=scale,
        longest=to,
        fit=size,
        purpose=purpose,
        no_enlarge=no_enlarge,
        only_smaller=only_smaller,
        quality=quality,
        bits=bits,
        compare=compare,
        write_tags=write_tags,
        strip=cast("Strip", strip.lower()),
        overwrite=overwrite,
        save_prompts=save_prompts,
        samples=samples if keep == "best" else 1,
        settings=given | {"profile": profile},
    )
    if bits == 16:
        for target in {job.target.suffix: job.target for job in plan}.values():
            check_sixteen(target)
    folder = resolve(model)
    resolved = resolve_settings(model, profile, given)
    check_engine(enlarger, resolved.engine)
    may_be_fine = (job.source for job in plan if job.target.suffix.lower() in SIXTEEN_BIT_SUFFIXES)
    fine = bits == 16 or (bits is None and any(map(holds_sixteen_bits, islice(may_be_fine, LOOKED_AT))))
    if samples > 1 and not resolved.num_inference_steps:
        raise SeesrError("--samples are all alike without denoising steps; choose another --profile or --steps")
    exact = resolved.is_paper or profile == "paper" or fine
    place = choose_device(device)
    number_format = choose_dtype(dtype, place, exact)
    first = given.get("seed", 0)
    wanted = [options] + [
        replace(options, settings=options.settings | {"seed": first + number}) for number in range(1, len(plans))
    ]
    name = str(number_format).removeprefix("torch.")
    recipes = [make_recipe(each, model, folder, name, enlarger) for each in wanted]
    if dry:
        for each in zip(plans, wanted, recipes):
            dry_run(*each, folder, number_format, place, enlarger)
        return

    @cache
    def load() -> "Restorer":
        steps = resolved.num_inference_steps
        wanted = {"profile": profile, "steps": steps, "enlarger": enlarger, "engine": resolved.engine}
        restorer = load_model(load_restorer, model, device, dtype, exact, **wanted)
        for note in restorer.remarks(profile, given):
            say(f"note: {in_options(note)}")
        if enlarger is None and (note := long_job_note(plan, options, folder, number_format, place)):
            say(f"note: {note}")
        return restorer

    code = 0
    for each in zip(plans, wanted, recipes):
        code = code or run_plan(*each, load)
    raise typer.Exit(code)
