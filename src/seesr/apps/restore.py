"""The loop of `seesr upscale`: read, restore, write, photo after photo; a bad one does not stop the others."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seesr.apps.folder import Job
from seesr.apps.progress import RestorationBars
from seesr.enlarging import output_size
from seesr.errors import SeesrError
from seesr.images import check_writable, finish_photo, format_notes, read_photo, side_by_side, target_scale, write_photo
from seesr.pipeline import SeeSRPipeline


@dataclass(frozen=True)
class RestoreOptions:
    """What to make of each photo.

    scale, longest, fit: size of the result, at most one of them (`seesr.images.target_scale`).
    max_pixels: photos with more are refused. quality: of JPEG, WebP and AVIF. compare: write a side-by-side as well.
    settings: keyword arguments of the pipeline's call.
    """

    max_pixels: int
    scale: float | None = None
    longest: int | None = None
    fit: tuple[int, int] | None = None
    quality: int = 95
    compare: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def restore_files(pipeline: SeeSRPipeline, jobs: Sequence[Job], options: RestoreOptions) -> None:
    """Restore every job's photo, telling what was done.

    Raises:
        SeesrError: the only photo failed, or some of several did; the others are written by then.
    """
    failed = 0
    with RestorationBars(len(jobs)) as bars:
        for job in jobs:
            bars.start(job.source.name)
            try:
                for line in _restore(pipeline, job, options, bars):
                    bars.say(line)
            except SeesrError as error:
                if len(jobs) == 1:
                    raise
                failed += 1
                bars.say(f"failed: {error}")
            bars.finish()
    if failed:
        raise SeesrError(f"{failed} of {len(jobs)} photos failed, as told above; the others are done")


def _restore(pipeline: SeeSRPipeline, job: Job, options: RestoreOptions, bars: RestorationBars) -> list[str]:
    began = time.perf_counter()
    photo = read_photo(job.source, options.max_pixels)
    scale = target_scale(*photo.rgb.size, options.scale, options.longest, options.fit)
    check_writable(job.target, output_size(*photo.rgb.size, scale))
    result = pipeline(photo.rgb, scale=scale, callback=bars.on_event, **options.settings)
    picture = finish_photo(result.images[0], photo)
    write_photo(picture, job.target, options.quality)
    seconds = time.perf_counter() - began
    size = f"{photo.rgb.width}x{photo.rgb.height} to {picture.width}x{picture.height}"
    lines = [f"{job.source} → {job.target}  ({size}, {seconds:.1f} s)"]
    if options.compare:
        sheet: Path = job.target.with_name(f"{job.target.stem}-compare{job.target.suffix}")
        write_photo(side_by_side(photo.rgb, result.images[0]), sheet, options.quality)
        lines.append(f"  side by side: {sheet}")
    if result.tags[0]:
        lines.append(f"  saw {', '.join(tag.name for tag in result.tags[0])}")
    return lines + [f"  note: {note}" for note in (*photo.notes, *format_notes(picture, job.target))]
