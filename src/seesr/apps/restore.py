"""The loop of `seesr upscale`: read, restore, write, photo after photo; a bad one does not stop the others."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seesr.apps.folder import Job
from seesr.apps.progress import RestorationBars
from seesr.errors import SeesrError
from seesr.photos.files import check_writable, format_notes, longest_side, write_photo, write_sixteen
from seesr.photos.limits import check_result_fits
from seesr.photos.photo import finish_photo, read_photo
from seesr.photos.pictures import Picture, Picture16, side_by_side
from seesr.photos.sixteen_bit import choose_bits, finish_sixteen
from seesr.restoration.enlarging import enlarge_learned
from seesr.restoration.restorer import Restorer
from seesr.restoration.sizes import output_size, target_scale, working_size
from seesr.restoration.work_plan import usual_plan


@dataclass(frozen=True)
class RestoreOptions:
    """What to make of each photo.

    scale, longest, fit: size of the result, at most one of them (`seesr.restoration.sizes.target_scale`).
    max_pixels: photos with more are refused. quality: of JPEG, WebP and AVIF.
    bits: 8 or 16 a channel; None: 16 where the photo has them and the file can hold them.
    compare: write a side-by-side as well.
    settings: keyword arguments of the pipeline's call.
    """

    max_pixels: int
    scale: float | None = None
    longest: int | None = None
    fit: tuple[int, int] | None = None
    quality: int = 95
    bits: int | None = None
    compare: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is wrong whatever the photo.

        Raises:
            SeesrError: two sizes, a scale out of range, or other bits than 8 and 16.
        """
        if self.bits not in (None, 8, 16):
            raise SeesrError(f"--bits cannot be {self.bits}; it must be 8 or 16")
        if self.scale is not None or (self.longest is not None and self.fit is not None):
            target_scale(1, 1, self.scale, self.longest, self.fit)

    def sheet(self, target: Path) -> Path | None:
        """Where the side-by-side of the result `target` goes, if there is one."""
        return target.with_name(f"{target.stem}-compare{target.suffix}") if self.compare else None


def restore_files(restorer: Restorer, jobs: Sequence[Job], options: RestoreOptions) -> None:
    """Restore every job's photo, telling what was done.

    Raises:
        SeesrError: the only photo failed, or some of several did; the others are written by then.
    """
    failed = 0
    with RestorationBars(len(jobs)) as bars:
        for job in jobs:
            bars.start(job.source.name)
            try:
                for line in _restore(restorer, job, options, bars):
                    bars.say(line)
            except Exception as error:
                if len(jobs) == 1:
                    raise
                failed += 1
                known = isinstance(error, SeesrError)
                bars.say(f"failed: {error if known else f'{job.source}: {type(error).__name__}: {error}'}")
            bars.finish()
    if failed:
        raise SeesrError(f"{failed} of {len(jobs)} photos failed, as told above; the others are done")


def _restore(restorer: Restorer, job: Job, options: RestoreOptions, bars: RestorationBars) -> list[str]:
    began = time.perf_counter()
    photo = read_photo(job.source, options.max_pixels)
    scale = target_scale(*photo.rgb.size, options.scale, options.longest, options.fit)
    size, sheet = output_size(*photo.rgb.size, scale), options.sheet(job.target)
    check_writable(job.target, size)
    if sheet:
        check_writable(sheet)
    settings = restorer.profile(options.settings.get("profile"))
    settings = settings.with_overrides(process_size=options.settings.get("process_size"))
    worked = working_size(photo.rgb.size, scale, settings.process_size)
    bits = choose_bits(photo, job.target, options.bits)
    check_result_fits(job.target, size, options.compare, bits, worked)
    result = restorer(photo.picture(bits), scale=scale, callback=bars.on_event, bits=bits, **options.settings)
    restored = result.images[0]
    enlarge = alpha_enlarger(restorer, scale, bits)
    if isinstance(restored, Picture16):
        finished = finish_sixteen(restored, photo, enlarge)
        write_sixteen(finished, job.target)
        remarks = format_notes(finished, job.target)
        restored = restored.rounded()
        if options.bits is None:
            remarks.append("16 bits a channel, as the photo has; --bits 8 gives 8")
    else:
        picture = finish_photo(restored, photo, enlarge)
        write_photo(picture, job.target, options.quality)
        remarks = format_notes(picture, job.target)
        if photo.sixteen:
            remarks.append("16 bits a channel became 8; --ext png or tiff, without --bits 8, keeps them")
    seconds = time.perf_counter() - began
    sizes = f"{photo.rgb.width}x{photo.rgb.height} to {size[0]}x{size[1]}"
    lines = [f"{job.source} → {job.target}  ({sizes}, {seconds:.1f} s)"]
    if sheet:
        write_photo(side_by_side(photo.rgb, restored, longest_side(sheet)), sheet, options.quality)
        lines.append(f"  side by side: {sheet}")
    if result.tags[0]:
        lines.append(f"  saw {', '.join(tag.name for tag in result.tags[0])}")
    return lines + [f"  note: {note}" for note in (*photo.notes, *remarks)]


def alpha_enlarger(restorer: Restorer, scale: float, bits: int) -> Callable[[Any], Picture] | None:
    """What enlarges a photo's transparency (`seesr.photos.alpha.restore_alpha`); None for a model without enlarger."""
    enlarger = restorer.enlarger
    if enlarger is None:
        return None

    def enlarge(picture: Picture) -> Picture:
        tile = usual_plan(restorer.profile()).enlarger_tile
        with torch.inference_mode():
            enlarged: Picture = enlarge_learned(
                enlarger, picture, scale, 0, False, tile, lambda done, total: None, bits == 16
            )
        return enlarged

    return enlarge
