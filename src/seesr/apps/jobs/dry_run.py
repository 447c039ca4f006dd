"""`--dry-run`: what would be done, and about how long it would take, without a photo restored or a file written."""

import random
from pathlib import Path

import torch
from PIL import ExifTags, Image

from seesr.apps.jobs.database import NAME, Print, Recipe
from seesr.apps.jobs.folder import Job, Plan
from seesr.apps.jobs.manifest import Manifest
from seesr.apps.jobs.restore import RestoreOptions
from seesr.apps.jobs.run import check_recipes, tell_left_out
from seesr.apps.jobs.summary import DAY, SHARE, duration
from seesr.apps.jobs.work import is_done
from seesr.apps.options import in_options
from seesr.apps.progress import say
from seesr.errors import SeesrError
from seesr.photos.files import quiet_pillow
from seesr.restoration.regions import Region
from seesr.restoration.settings import SPECS

_SAMPLE = 100  # photos whose sizes are looked at
_NAMED = 5


def dry_run(
    plan: Plan,
    options: RestoreOptions,
    recipe: Recipe,
    model: Path,
    dtype: torch.dtype,
    device: torch.device,
    enlarger: Path | None = None,
) -> None:
    """Tell what `run_plan` would do. model: the folder of the model. enlarger: as for `load_restorer`.

    Raises:
        SeesrError: results of other settings stand there; a config of the model is missing or damaged; the enlarger
            cannot be used.
    """
    tell_left_out(plan)
    waiting, done, problems = _split(plan, options, recipe)
    shown = waiting[:_NAMED] if len(waiting) > _NAMED + 1 else waiting
    for job in shown:
        say(f"{job.source} → {job.target}")
    if len(waiting) > len(shown):
        say(f"and {len(waiting) - len(shown)} more")
    for job in problems:
        say(f"would fail: {job.source}: {job.problem}", "red")
    counts = f"{len(waiting)} to do" + (f", {done} done before" if done else "")
    sizes = _sizes(waiting, options)
    if not sizes:
        say(f"{counts}; nothing was written")
        return
    share = options.samples * len(waiting) / len(sizes)
    span = _seconds(sizes, model, options, dtype, device, enlarger)
    least, most = (duration(share * seconds) for seconds in span)
    say(f"{counts}: about {least if least == most else f'{least} to {most}'}; nothing was written")
    if share * span[1] > DAY:
        say(f"note: {SHARE}")


def _split(plan: Plan, options: RestoreOptions, recipe: Recipe) -> tuple[list[Job], int, list[Job]]:
    """(jobs to do, how many are done, jobs that cannot be done)."""
    waiting: list[Job] = []
    problems: list[Job] = []
    done = 0
    with Manifest(plan.folder, recipe, lazy=True) as manifest:
        if not options.overwrite:
            check_recipes(plan, manifest)
        for job in plan:
            if job.problem:
                problems.append(job)
                continue
            try:
                known = (plan.folder / NAME).exists() and not options.overwrite
                if known and is_done(manifest, job, Print.of(job.source)):
                    done += 1
                    continue
            except OSError:
                pass  # told when it is its turn
            waiting.append(job)
    return waiting, done, problems


def _sizes(jobs: list[Job], options: RestoreOptions) -> list[tuple[tuple[int, int], float]]:
    """(size, scale) of a sample of the photos that can be read and are to be restored; regions beyond one are told."""
    regions = [Region.parse(text) for text in options.settings.get("regions") or ()]
    sample = jobs if len(jobs) <= _SAMPLE else random.Random(0).sample(jobs, _SAMPLE)
    sizes = []
    for job in sample:
        try:
            with quiet_pillow(), Image.open(job.source) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
                size = image.size[::-1] if turned else image.size
            scale = options.scale_for(size)
        except (SeesrError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        try:
            for region in regions:
                region.box(size)
        except SeesrError as error:
            say(f"would fail: {job.source}: {in_options(str(error))}", "red")
            continue
        if scale is not None:
            sizes.append((size, scale))
    return sizes


def _seconds(
    sizes: list[tuple[tuple[int, int], float]],
    model: Path,
    options: RestoreOptions,
    dtype: torch.dtype,
    device: torch.device,
    enlarger: Path | None,
) -> tuple[float, float]:
    """(least, most) for all `sizes`: the networks run dry on the photo of middle size, and the others by their area."""
    from seesr.apps.estimates import estimate, seconds_span

    def area(found: tuple[tuple[int, int], float]) -> float:
        (width, height), scale = found
        return width * height * max(1.0, scale) ** 2

    ordered = sorted(sizes, key=area)
    size, scale = ordered[len(ordered) // 2]
    given = {name: value for name, value in options.settings.items() if name in SPECS and name != "scale"}
    on_gpu = device.type == "cuda"
    needs = estimate(model, size, scale, dtype, on_gpu, options.settings.get("profile"), given, enlarger)
    least, most, _ = seconds_span(needs, device, dtype)
    share = sum(map(area, sizes)) / area((size, scale))
    return least * share, most * share
