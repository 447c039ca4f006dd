"""One photo from file to file: read, checked, restored, finished, written. Whole jobs are `seesr.apps.jobs`' affair."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from seesr.apps.jobs.folder import Job
from seesr.apps.jobs.tagged import strip, write_tags
from seesr.apps.options import in_options
from seesr.apps.prompt_files import write_prompts
from seesr.errors import SeesrError
from seesr.photos.files import check_writable, format_notes, longest_side, write_photo
from seesr.photos.limits import check_result_fits, free_memory
from seesr.photos.photo import Photo, finish_photo, read_photo
from seesr.photos.pictures import DeepPicture, side_by_side
from seesr.photos.sixteen_bit import finish_deep, write_deep
from seesr.restoration.outputs import SeeSROutput
from seesr.restoration.restorer import Restorer
from seesr.restoration.settings import Settings
from seesr.restoration.sizes import output_size, target_scale, working_size

STRIP = ("all", "location")

_ROOMY = 8 << 30  # bytes free beside which the enlarger's tiles need not be counted


@dataclass(frozen=True)
class RestoreOptions:
    """What to make of each photo.

    scale, longest, fit, purpose: size of the result, at most one of them (`seesr.restoration.sizes.target_scale`).
    no_enlarge: no result is larger than its photo. only_smaller: photos that have the size already are left alone.
    max_pixels: photos with more are refused. quality: of JPEG, WebP and AVIF. bits: 8 or 16 a channel.
    compare: write a side-by-side as well. write_tags: put the tags seen among the keywords. strip: metadata left out,
        "all" or "location".
    overwrite: do again what is done, and replace files of others. save_prompts: write tags, prompts and settings
        beside each result.
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
    bits: int = 8
    compare: bool = False
    write_tags: bool = False
    strip: str | None = None
    overwrite: bool = False
    save_prompts: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is wrong whatever the photo.

        Raises:
            SeesrError: two sizes, a scale out of range, other bits than 8 and 16, or nothing that can be stripped.
        """
        if self.bits not in (8, 16):
            raise SeesrError(f"`bits` cannot be {self.bits}; it must be 8 or 16")
        if self.strip is not None and self.strip not in STRIP:
            raise SeesrError(f"`strip` cannot be {self.strip!r}; use {' or '.join(STRIP)}")
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
        settings = parts.pop("settings")
        settings.pop("memory", None)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in {**parts, **settings}.items()}

    def asked(self, scale: float) -> dict[str, Any]:
        """Keyword arguments of the pipeline's call for a result of `scale`."""
        return self.settings | {"scale": scale, "bits": self.bits}

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
    photo = read_photo(job.source, options.max_pixels)
    scale = options.scale_for(photo.rgb.size)
    if scale is None:
        return None
    size = output_size(*photo.rgb.size, scale)
    check_writable(job.target, size)
    if job.sheet:
        check_writable(job.sheet)
    settings = restorer.settings(**options.asked(scale))
    worked = working_size(photo.rgb.size, scale, settings.process_size)
    diffuse = settings.num_inference_steps > 0
    wanted = job.target, size, options.compare, options.bits, worked, photo.rgb.size, diffuse
    check_result_fits(*wanted)  # before what is slower to count
    if settings.memory is None and (diffuse or free_memory() < _ROOMY):
        working = restorer.working_bytes(photo.rgb.size, scale, settings)
        check_result_fits(*wanted, working=working)
    return Opened(photo, settings, size)


def restore_photo(
    restorer: Restorer, opened: Opened, options: RestoreOptions, on_event: Callable[[Any], None]
) -> SeeSROutput:
    """The networks' part."""
    result: SeeSROutput = restorer(opened.photo.rgb, callback=on_event, **options.asked(opened.settings.scale))
    return result


def write_result(opened: Opened, result: SeeSROutput, job: Job, options: RestoreOptions) -> list[str]:
    """Finish a restored picture and write it, its side-by-side first; returns what the user should know.

    Raises:
        SeesrError: a write that fails; no half of a file is left.
    """
    photo, restored = opened.photo, result.images[0]
    notes = [*photo.notes, *filter(None, result.notes)]
    if options.save_prompts:
        profile = options.settings.get("profile") or "the model's own"
        notes.append(f"prompts: {write_prompts(job.target, job.source, result, profile, opened.settings)}")
    if options.strip:
        photo = strip(photo, options.strip)
    if options.write_tags:
        try:
            photo = write_tags(photo, [tag.name for tag in result.tags[0]])
        except ValueError as error:
            notes.append(str(error))
    if isinstance(restored, DeepPicture):
        if photo.deep:
            notes.append("more than 8 bits a channel, read as 8; the result has 16")
        deep, remarks = finish_deep(restored, photo)
        _write_sheet(opened, restored.rounded(), job, options)
        write_deep(deep, job.target)
        return notes + remarks
    if photo.deep:
        notes.append("more than 8 bits a channel, read as 8: the result has 8; --bits 16 gives 16")
    picture = finish_photo(restored, photo)
    _write_sheet(opened, restored, job, options)
    write_photo(picture, job.target, options.quality)
    return notes + format_notes(picture, job.target)


def _write_sheet(opened: Opened, restored: Any, job: Job, options: RestoreOptions) -> None:
    if job.sheet:
        sheet = side_by_side(opened.photo.rgb, restored, longest_side(job.sheet))
        write_photo(sheet, job.sheet, options.quality)


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
