"""The loop of `seesr upscale`: read, restore, write, photo after photo; a bad one does not stop the others."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seesr.apps.folder import Job
from seesr.apps.options import in_options
from seesr.apps.progress import RestorationBars
from seesr.apps.prompt_files import write_prompts
from seesr.errors import SeesrError
from seesr.photos.files import check_writable, format_notes, longest_side, write_photo
from seesr.photos.limits import check_result_fits, free_memory
from seesr.photos.photo import finish_photo, read_photo
from seesr.photos.pictures import DeepPicture, side_by_side
from seesr.photos.sixteen_bit import finish_deep, write_deep
from seesr.restoration.restorer import Restorer
from seesr.restoration.sizes import output_size, target_scale, working_size

_ROOMY = 8 << 30  # bytes free with which the tiles of an enlarger need not be counted, which takes a second


@dataclass(frozen=True)
class RestoreOptions:
    """What to make of each photo.

    scale, longest, fit: size of the result, at most one of them (`seesr.restoration.sizes.target_scale`).
    max_pixels: photos with more are refused. quality: of JPEG, WebP and AVIF. bits: 8 or 16 a channel.
    compare: write a side-by-side as well.
    settings: keyword arguments of the pipeline's call. save_prompts: write what a result was made with beside it.
    """

    max_pixels: int
    scale: float | None = None
    longest: int | None = None
    fit: tuple[int, int] | None = None
    quality: int = 95
    bits: int = 8
    compare: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    save_prompts: bool = False

    def __post_init__(self) -> None:
        """Refuse what is wrong whatever the photo.

        Raises:
            SeesrError: two sizes, a scale out of range, or other bits than 8 and 16.
        """
        if self.bits not in (8, 16):
            raise SeesrError(f"`bits` cannot be {self.bits}; it must be 8 or 16")
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
                bars.say(
                    f"failed: {in_options(str(error)) if known else f'{job.source}: {type(error).__name__}: {error}'}"
                )
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
    asked = options.settings | {"scale": scale, "bits": options.bits}
    settings = restorer.settings(**asked)
    worked = working_size(photo.rgb.size, scale, settings.process_size)
    diffuse = settings.num_inference_steps > 0
    wanted = job.target, size, options.compare, options.bits, worked, photo.rgb.size, diffuse
    check_result_fits(*wanted)  # before what is slower to count
    if options.settings.get("memory") is None and (diffuse or free_memory() < _ROOMY):
        working = restorer.working_bytes(photo.rgb.size, scale, settings)
        check_result_fits(*wanted, working=working)
    result = restorer(photo.rgb, callback=bars.on_event, **asked)
    restored = result.images[0]
    if isinstance(restored, DeepPicture):
        finished, remarks = finish_deep(restored, photo)
        write_deep(finished, job.target)
        restored = restored.rounded()
        if photo.deep:
            remarks = ["more than 8 bits a channel, read as 8; the result has 16", *remarks]
    else:
        picture = finish_photo(restored, photo)
        write_photo(picture, job.target, options.quality)
        remarks = format_notes(picture, job.target)
        if photo.deep:
            remarks = ["more than 8 bits a channel, read as 8: the result has 8; --bits 16 gives 16", *remarks]
    seconds = time.perf_counter() - began
    sizes = f"{photo.rgb.width}x{photo.rgb.height} to {size[0]}x{size[1]}"
    lines = [f"{job.source} → {job.target}  ({sizes}, {seconds:.1f} s)"]
    if sheet:
        write_photo(side_by_side(photo.rgb, restored, longest_side(sheet)), sheet, options.quality)
        lines.append(f"  side by side: {sheet}")
    if options.save_prompts:
        profile = options.settings.get("profile") or restorer.config.default_profile
        lines.append(f"  prompts: {write_prompts(job.target, job.source, result, profile, settings)}")
    if result.tags[0]:
        lines.append(f"  saw {', '.join(tag.name for tag in result.tags[0])}")
    notes = (*photo.notes, *filter(None, result.notes), *remarks)
    return lines + [f"  note: {in_options(note)}" for note in notes]
