"""`--dry-run`: what would be done, and about how long it would take, without a photo restored or a file written."""

import random
from dataclasses import replace
from itertools import islice
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
from seesr.checkpoints.files import read_json
from seesr.errors import SeesrError
from seesr.photos.files import quiet_pillow
from seesr.restoration.engines import PARTS
from seesr.restoration.regions import Region
from seesr.restoration.settings import SPECS

_SAMPLE = 100  # photos whose sizes are looked at
_NAMED = 5
_LOOKED_AT = 20  # photos, before a job begins
_SMALL = 1_000_000  # pixels of all photos; fewer are not worth the seconds that estimating takes
_LONG, _FRACTION = 20.0, 0.35  # seconds from which on another engine is worth a word, and the share that it may take


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
    sizes = sample_sizes(waiting, options)
    if not sizes:
        say(f"{counts}; nothing was written")
        return
    share = options.samples * len(waiting) / len(sizes)
    span = seconds_of(sizes, model, options, dtype, device, enlarger)
    say(f"{counts}: about {_told(span, share)}; nothing was written")
    if enlarger is None and (note := quicker_note(sizes, share, span, model, options, dtype, device)):
        say(f"note: {note}")
    if share * span[1] > DAY:
        say(f"note: {SHARE}")


def long_job_note(plan: Plan, options: RestoreOptions, model: Path, dtype: torch.dtype, device: torch.device) -> str:
    """What to say before a job on a processor that the engine quick would end far sooner; "" if it is not long.

    Raises:
        SeesrError: a config of the model is missing or damaged.
    """
    if device.type != "cpu" or options.settings.get("regions"):
        return ""
    jobs = list(islice(plan, _LOOKED_AT))
    sizes = sample_sizes(jobs, options)
    share = options.samples * len(plan) / max(1, len(jobs))
    if share * sum(width * height for (width, height), _ in sizes) < _SMALL:
        return ""
    span = seconds_of(sizes, model, options, dtype, device, None)
    note = quicker_note(sizes, share, span, model, options, dtype, device)
    return note and f"this takes about {_told(span, share)}; {note}"


def quicker_note(
    sizes: list[tuple[tuple[int, int], float]],
    share: float,
    span: tuple[float, float],
    model: Path,
    options: RestoreOptions,
    dtype: torch.dtype,
    device: torch.device,
) -> str:
    """What the engine quick would take, where that is worth a word: the job is long, and most of it is the enlarger's.

    span: (least, most) seconds of the photos of `sizes` as things stand, `share` times which the job takes.
    """
    index = read_json(model / "model_index.json")
    settings = options.settings
    if share * span[1] < _LONG or settings.get("engine") == "quick" or not (index.get(PARTS["quick"]) or [None])[0]:
        return ""
    quick = replace(options, settings=settings | {"engine": "quick"})
    sooner = seconds_of(sizes, model, quick, dtype, device, None)
    if sooner[1] > _FRACTION * span[1]:
        return ""
    return f"--engine quick takes about {_told(sooner, share)}, less faithfully"


def _told(span: tuple[float, float], share: float) -> str:
    least, most = (duration(share * seconds) for seconds in span)
    return least if least == most else f"{least} to {most}"


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


def sample_sizes(jobs: list[Job], options: RestoreOptions) -> list[tuple[tuple[int, int], float]]:
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


def seconds_of(
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
