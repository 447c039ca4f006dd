"""What the server does with one photo: restore it, keep the result losslessly, hand it out in the format asked for."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image

from seesr.apps.web.jobs import WebJob
from seesr.errors import SeesrError
from seesr.models.tagging import Tag
from seesr.photos.files import write_photo
from seesr.photos.limits import check_result_fits
from seesr.photos.photo import Photo, finish_photo, read_photo
from seesr.photos.pictures import flatten
from seesr.restoration.outputs import Progress
from seesr.restoration.restorer import Restorer
from seesr.restoration.sizes import output_size, target_scale

PREVIEW_SIDE = 4096
"""Longest side of the pictures that the page shows; the files to download have every pixel."""

FORMATS = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "avif": "image/avif", "tiff": "image/tiff"}
"""Formats of results, by suffix, and their media types."""

_KEPT = "result.png"  # lossless, with all metadata
_ABOUT = "about.json"
_PREVIEW_QUALITY = 92


@dataclass(frozen=True)
class Wish:
    """How a photo is to be restored.

    profile: its name, or None for the model's default. longest: pixels of the longer side, instead of the scale.
    settings: of the restorer's call, checked.
    """

    profile: str | None = None
    longest: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)


class Restoration:
    """Restores the photos of jobs with one model; the server has one of these.

    Args:
        restorer: the model; used by one thread at a time.
        max_pixels: photos and results with more are refused.
        measure: told of every restored photo: seconds by stage, and megapixels of the result.
    """

    def __init__(self, restorer: Restorer, max_pixels: int, measure: Callable[[dict[str, float], float], None]) -> None:
        self.restorer, self.max_pixels, self._measure = restorer, max_pixels, measure
        self._model = Lock()

    def restore(self, wish: Wish) -> Callable[[WebJob, Callable[[Progress], None]], None]:
        """The work of a job that restores its photo as `wish` says."""

        def work(job: WebJob, callback: Callable[[Progress], None]) -> None:
            photo = self._read(job)
            given = wish.settings.get("scale") if wish.longest is None else None
            scale = target_scale(*photo.rgb.size, given, wish.longest)
            size = output_size(*photo.rgb.size, scale)
            if size[0] * size[1] > self.max_pixels:
                raise SeesrError(
                    f"a result of {size[0]} x {size[1]} pixels is more than this server makes "
                    f"({self.max_pixels / 1e6:g} megapixels); choose a smaller size"
                )
            check_result_fits(job.folder / _KEPT, size)
            with self._model:
                result = self.restorer(
                    photo.rgb,
                    profile=wish.profile,
                    callback=callback,
                    tag_maps=True,
                    **wish.settings | {"scale": scale},
                )
            callback(Progress("write", 0, 1))
            picture = finish_photo(result.images[0], photo)
            write_photo(picture, job.folder / _KEPT)
            _write_preview(
                photo.rgb.resize(result.images[0].size, Image.Resampling.BICUBIC), job.folder / "before.webp"
            )
            _write_preview(result.images[0], job.folder / "after.webp")
            about = {
                "size": result.images[0].size,
                "photo_size": photo.rgb.size,
                "tags": _tags(result.tags[0], result.tag_maps[0]),
                "prompt": result.prompts[0],
                "negative_prompt": result.negative_prompts[0],
                "seconds": {stage: round(seconds, 3) for stage, seconds in result.timings[0].items()},
                "notes": list(photo.notes),
            }
            (job.folder / _ABOUT).write_text(json.dumps(about))
            self._measure(result.timings[0], size[0] * size[1] / 1e6)

        return work

    def look(self) -> Callable[[WebJob, Callable[[Progress], None]], None]:
        """The work of a job that only tells the tags of its photo."""

        def work(job: WebJob, callback: Callable[[Progress], None]) -> None:
            if self.restorer.tagger is None:
                raise SeesrError("this model has no tagger")
            photo = self._read(job)
            callback(Progress("tags", 0, 1))
            with self._model:
                found, maps = self.restorer.look_where(photo.rgb)
            (job.folder / _ABOUT).write_text(json.dumps({"tags": _tags(found, maps)}))

        return work

    def _read(self, job: WebJob) -> Photo:
        try:
            return read_photo(job.photo, self.max_pixels)
        except SeesrError as error:  # the visitor's name for the file, not the server's
            raise SeesrError(str(error).removeprefix(f"{job.photo}: ")) from error


def about(job: WebJob) -> dict[str, Any]:
    """What is known of the result of a job that is done: size, tags, prompts, seconds by stage, notes."""
    found: dict[str, Any] = json.loads((job.folder / _ABOUT).read_text())
    return found


def preview(job: WebJob, which: str) -> Path:
    """WebP of the photo ("before", enlarged bicubically to the result's size) or of the result ("after")."""
    return job.folder / f"{which}.webp"


def encoded(job: WebJob, suffix: str, quality: int) -> Path:
    """The result in a format of `FORMATS`, all its pixels and metadata; made when first asked for.

    Raises:
        SeesrError: the format cannot hold it, or the server's disk is full.
    """
    target = job.folder / f"result-{quality}.{suffix}"
    if suffix == "png":
        return job.folder / _KEPT
    if not target.is_file():
        photo = read_photo(job.folder / _KEPT)
        write_photo(finish_photo(photo.rgb, photo), target, quality)
    return target


def _tags(tags: Sequence[Tag], maps: torch.Tensor) -> list[dict[str, Any]]:
    """Tags for a visitor, each with where it is seen: rows of cells that cover the photo, 0 to 1."""
    cells = [[[round(value, 2) for value in row] for row in rows] for rows in maps.tolist()]
    return [{"name": tag.name, "probability": round(tag.probability, 4), "map": rows} for tag, rows in zip(tags, cells)]


def _write_preview(picture: Image.Image, path: Path) -> None:
    picture = flatten(picture)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    picture.info = {}
    write_photo(picture, path, _PREVIEW_QUALITY)
