"""One photo from file to file: read, checked, restored, finished, written. Whole jobs are `seesr.apps.jobs`' affair."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import torch
from PIL import Image

from seesr.apps.jobs.folder import Job
from seesr.apps.jobs.samples import best_sample, check_ranked
from seesr.apps.options import in_options
from seesr.apps.prompt_files import write_prompts
from seesr.errors import SeesrError
from seesr.photos.files import check_writable, format_notes, longest_side, write_photo, write_sixteen
from seesr.photos.limits import check_result_fits, free_memory
from seesr.photos.metadata import Strip
from seesr.photos.photo import Photo, finish_photo, read_photo
from seesr.photos.pictures import Picture, Picture16, side_by_side
from seesr.photos.sixteen_bit import Result16, choose_bits, finish_sixteen
from seesr.restoration.engines import enlarger_of
from seesr.restoration.enlarging import enlarge_learned
from seesr.restoration.outputs import SeeSROutput
from seesr.restoration.restorer import Restorer
from seesr.restoration.settings import Settings
from seesr.restoration.sizes import output_size, target_scale, work_scale, working_size
from seesr.restoration.work_plan import usual_plan

STRIP: tuple[Strip, ...] = get_args(Strip)

_ROOMY = 8 << 30  # bytes free beside which the enlarger's tiles need not be counted


@dataclass(frozen=True)
class RestoreOptions:
    """What to make of each photo.

    scale, longest, fit, purpose: size of the result, at most one of them (`seesr.restoration.sizes.target_scale`).
    no_enlarge: no result is larger than its photo. only_smaller: photos that have the size already are left alone.
    max_pixels: photos with more are refused. quality: of JPEG, WebP and AVIF.
    bits: 8 or 16 a channel; None: 16 where the photo has them and the file can hold them.
    compare: write a side-by-side as well. write_tags: put the tags seen among the keywords. strip: metadata left out,
        "all" or "location".
    overwrite: do again what is done, and replace files of others. save_prompts: write tags, prompts and settings
        beside each result.
    samples: the best of so many is the result (`seesr.apps.jobs.samples`).
    settings: keyword arguments of the pipeline's call.
    """

    max_pixels: int
    scale: float | None = None
    longest: int | None = None
    fit: tuple[int, int] | None = None
    purpose: str | None = None
    no_enlarge: bool = False
    only_smaller: bool = False
    quality: int = 95
    bits: int | None = None
    compare: bool = False
    write_tags: bool = False
    strip: Strip = "none"
    overwrite: bool = False
    save_prompts: bool = False
    samples: int = 1
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is wrong whatever the photo.

        Raises:
            SeesrError: two sizes, a scale out of range, other bits than 8 and 16, or nothing that can be stripped.
        """
        if self.bits not in (None, 8, 16):
            raise SeesrError(f"`bits` cannot be {self.bits}; it must be 8 or 16")
        if self.strip not in STRIP:
            raise SeesrError(f"`strip` cannot be {self.strip!r}; use {', '.join(STRIP)}")
        sizes = self.longest, self.fit, self.purpose
        if self.scale is not None or sum(size is not None for size in sizes) > 1:
            target_scale(1, 1, self.scale, *sizes)
        if self.purpose is not None:
            target_scale(4000, 4000, purpose=self.purpose)

    def described(self) -> dict[str, Any]:
        """What shapes the results, as JSON types: results of the same description are alike."""
        parts = asdict(self)
        for name in ("max_pixels", "only_smaller", "overwrite", "save_prompts"):
            del parts[name]
        if self.samples == 1:
            del parts["samples"]
        settings = parts.pop("settings")
        settings.pop("memory", None)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in {**parts, **settings}.items()}

    def asked(self, scale: float, bits: int) -> dict[str, Any]:
        """Keyword arguments of the pipeline's call for a result of `scale`, of `bits` a channel."""
        return self.settings | {"scale": scale, "bits": bits}

    def scale_for(self, size: tuple[int, int]) -> float | None:
        """The scale for a photo of `size` (width, height); None if it is to be left alone.

        Raises:
            SeesrError: the size asked for is out of range for it.
        """
        scale = target_scale(*size, self.scale, self.longest, self.fit, self.purpose)
        if self.only_smaller and scale <= 1:
            return None
        return min(1.0, scale) if self.no_enlarge else scale


@dataclass(frozen=True)
class Opened:
    """A photo that is read and checked. settings: to restore it with, its scale among them. size: of its result."""

    photo: Photo
    settings: Settings
    size: tuple[int, int]


def open_photo(restorer: Restorer, job: Job, options: RestoreOptions) -> Opened | None:
    """Read a job's photo and find out whether its result can be made and written; None: it is to be left alone.

    Raises:
        SeesrError: it cannot.
    """
    photo = read_photo(job.source, options.max_pixels, strip=options.strip)
    scale = options.scale_for(photo.rgb.size)
    if scale is None:
        return None
    size = output_size(*photo.rgb.size, scale)
    check_writable(job.target, size)
    if options.samples > 1:
        check_ranked(size)
    if job.sheet:
        check_writable(job.sheet)
    bits = choose_bits(photo, job.target, options.bits)
    settings = restorer.settings(**options.asked(scale, bits))
    worked = working_size(photo.rgb.size, scale, settings.process_size)
    diffuse = settings.num_inference_steps > 0
    wanted = job.target, size, options.compare, bits, worked, photo.rgb.size, diffuse
    check_result_fits(*wanted)  # before what is slower to count
    if settings.memory is None and (diffuse or free_memory() < _ROOMY):
        working = restorer.working_bytes(photo.rgb.size, scale, settings)
        check_result_fits(*wanted, working=working)
    return Opened(photo, settings, size)


@dataclass(frozen=True)
class Finished:
    """A restored picture made what its photo was, and in sRGB for the side-by-side.

    result: what the model tells. seed: that of the picture.
    """

    picture: Image.Image | Result16
    restored: Image.Image
    result: SeeSROutput
    notes: list[str]
    seed: int


def restore_photo(
    restorer: Restorer, opened: Opened, options: RestoreOptions, on_event: Callable[[Any], None]
) -> Finished:
    """The networks' part: the picture, and its transparency."""
    settings, photo, notes = opened.settings, opened.photo, list(opened.photo.notes)
    asked = options.asked(settings.scale, settings.bits)
    picture, seed = photo.picture(settings.bits), settings.seed
    if options.samples > 1:
        result, seed = best_sample(restorer, picture, options.samples, asked, on_event)
    else:
        result = restorer(picture, callback=on_event, **asked)
    notes += filter(None, result.notes)
    if options.write_tags:
        photo = replace(photo, metadata=photo.metadata.with_keywords([tag.name for tag in result.tags[0]]))
    enlarge, restored = alpha_enlarger(restorer, settings), result.images[0]
    if isinstance(restored, Picture16):
        if options.bits is None:
            notes.append("16 bits a channel, as the photo has; `bits` 8 gives 8")
        network = restorer.vae if settings.num_inference_steps else enlarger_of(restorer, settings.engine)
        if network is not None and network.dtype != torch.float32:
            number_format = str(network.dtype).removeprefix("torch.")
            notes.append(f"made in {number_format}, which is coarser than 16 bits; `dtype` float32 is finer")
        return Finished(finish_sixteen(restored, photo, enlarge), restored.rounded(), result, notes, seed)
    if photo.sixteen is not None:
        notes.append("16 bits a channel became 8; `ext` png or tiff, without `bits` 8, keeps them")
    return Finished(finish_photo(restored, photo, enlarge), restored, result, notes, seed)


def alpha_enlarger(restorer: Restorer, settings: Settings) -> Callable[[Any], Picture] | None:
    """What enlarges a photo's transparency (`seesr.photos.alpha.restore_alpha`); None for a model without enlarger."""
    enlarger = enlarger_of(restorer, settings.engine)
    if enlarger is None:
        return None

    def enlarge(picture: Picture) -> Picture:
        tile, scale = usual_plan(settings).enlarger_tile, work_scale(settings.scale)
        with torch.inference_mode():
            enlarged: Picture = enlarge_learned(
                enlarger, picture, scale, 0, False, tile, lambda done, total: None, settings.bits == 16, settings.detail
            )
        return enlarged

    return enlarge


def write_result(opened: Opened, finished: Finished, job: Job, options: RestoreOptions) -> list[str]:
    """Write a finished picture, its side-by-side first; returns what the user should know.

    Raises:
        SeesrError: a write that fails; no half of a file is left.
    """
    notes = list(finished.notes)
    if job.sheet:
        sheet = side_by_side(opened.photo.rgb, finished.restored, longest_side(job.sheet))
        write_photo(sheet, job.sheet, options.quality)
    if isinstance(finished.picture, Result16):
        write_sixteen(finished.picture, job.target)
    else:
        write_photo(finished.picture, job.target, options.quality)
    if options.save_prompts:
        profile = options.settings.get("profile") or "the model's own"
        settings = replace(opened.settings, seed=finished.seed)
        path = write_prompts(job.target, job.source, finished.result, profile, settings)
        notes.append(f"prompts: {path}")
    return [in_options(note) for note in notes + format_notes(finished.picture, job.target)]


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, SeesrError):
        return in_options(str(error))  # a line, but for what a name brings in
    text = " ".join(str(error).split())
    with suppress(Exception):
        if is_out_of_memory(error):
            return "out of memory; a smaller --scale or --latent-tile needs less, or --memory sets a limit"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is for want of memory, of the machine or of its graphics card."""
    return isinstance(error, MemoryError) or any(x in str(error) for x in ("not enough memory", "out of memory"))
