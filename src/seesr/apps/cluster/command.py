"""`seesr cluster`: folders restored by many processes, on this machine or on a cluster."""

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from seesr.apps.models import Dtype, Model
from seesr.apps.options import read_settings, with_setting_options
from seesr.apps.result_options import (
    LOOKED_AT,
    Compare,
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

if TYPE_CHECKING:
    from seesr.photos.metadata import Strip


@with_setting_options
def cluster(
    source: Annotated[str, typer.Argument(help="A folder, or a URL as s3://bucket/photos.", show_default=False)],
    output: Annotated[str, typer.Option("--output", "-o", help="A folder, or a URL.")],
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto", envvar="RAY_ADDRESS", help="A Ray cluster's head; default: Ray on this machine."
        ),
    ] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Processes; default: as many as there is room for.")] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(min=0, help="Of each process, as 1 or 0.5; default: 1, or 0 where there is none.")
    ] = None,
    cpus_per_actor: Annotated[
        int | None, typer.Option(min=1, help="Cores of each process without a GPU; default: 4, or all.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Photos a process takes on at once.")] = 16,
    model: Model = "mini",
    profile: Profile = None,
    enlarger: Enlarger = None,
    dtype: Dtype = "auto",
    to: To = None,
    fit: Fit = None,
    ext: Ext = None,
    suffix: Suffix = "",
    quality: Quality = 95,
    max_pixels: MaxPixels = None,
    compare: Compare = False,
    save_prompts: SavePrompts = False,
    purpose: Purpose = None,
    no_enlarge: NoEnlarge = False,
    only_smaller: OnlySmaller = False,
    write_tags: WriteTags = False,
    strip: StripOption = "none",
    overwrite: Overwrite = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done.")] = False,
    **settings: Any,
) -> None:
    """Restore the photos of a folder or a bucket by many processes, with Ray; the same files as by `seesr upscale`."""
    from seesr.apps.cluster.rays import MISSING

    try:
        import fsspec  # noqa: F401
        import pyarrow  # noqa: F401
        import ray  # noqa: F401
    except ImportError as error:
        raise SeesrError(f"{MISSING} ({error})") from error
    from seesr.apps.cluster.heads import tells_sixteen
    from seesr.apps.cluster.job import Asked, do_job
    from seesr.apps.cluster.places import Place
    from seesr.apps.cluster.plan import list_photos
    from seesr.apps.cluster.worker import Task
    from seesr.apps.jobs.restore import RestoreOptions
    from seesr.loading import resolve_settings
    from seesr.photos.files import MAX_PIXELS, output_name
    from seesr.photos.sixteen_bit import check_sixteen

    scale, size = settings.pop("scale"), read_size(fit)
    given = read_settings(settings)
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
        settings=given | {"profile": profile},
    )
    output_name(Path("x.png"), suffix, ext)  # a wrong --suffix or --ext is the same for all
    resolved = resolve_settings(model, profile, given)
    check_engine(enlarger, resolved.engine)
    place, target = Place(source), Place(output)
    listing = list_photos(place, target, suffix, ext, compare)
    if bits == 16:
        for job in {job.target.suffix: job for job in listing.plan}.values():
            check_sixteen(job.target)
    fine = bits == 16 or (bits is None and tells_sixteen(place, islice(listing.may_be_fine(), LOOKED_AT)))
    exact = resolved.is_paper or profile == "paper" or fine
    task = Task(
        source=place.address,
        target=target.address,
        options=options,
        model=os.path.abspath(model) if os.path.isdir(model) else model,
        profile=profile,
        enlarger=enlarger and enlarger.expanduser().absolute(),
        dtype=dtype,
        exact=exact,
    )
    raise typer.Exit(do_job(task, listing, target, Asked(address, actors, gpus_per_actor, cpus_per_actor, batch, dry)))
