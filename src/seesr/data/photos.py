"""Training photos: decoded at once where the set fits into memory, else one by one when they are needed.

Damaged pictures are left out, counted and reported either way.
"""

import hashlib
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import get_worker_info

from seesr.data.shards import Entry, expand, list_entries
from seesr.data.tag_files import read_tags
from seesr.errors import SeesrError

logger = logging.getLogger(__name__)

MEMORY_GB = 8.0
_NEIGHBOURS = 100  # tried in place of a damaged picture


@dataclass(frozen=True)
class TrainingPhoto:
    """A decoded photo: RGB `pixels`, (H, W, 3) uint8; `info` is the JSON file beside it, `tags` a text; if any."""

    name: str
    pixels: Any  # numpy array, or a tensor where photos live on a device
    info: dict[str, Any] = field(default_factory=dict)
    tags: str | None = None


@dataclass(kw_only=True)
class PhotosConfig:
    """Which photos a stage is trained on, and how they are held; a part of the stages' configs."""

    photos: list[str]  # folders or shards; URLs of shards with an index
    small_photos: Literal["error", "skip"] = "error"  # those smaller than the crop
    memory_gb: float = MEMORY_GB  # a set that needs more, decoded, is read while training
    scale_jitter: float = 1.0  # below 1, crops are windows up to 1 / scale_jitter as wide, reduced
    on_device: bool = False  # decoded photos live on the training device, and samples are made there

    def __post_init__(self) -> None:
        check_others = getattr(super(), "__post_init__", None)  # the loop's settings, where a stage has both
        if check_others:
            check_others()
        if self.memory_gb < 0:
            raise SeesrError(f"memory_gb is {self.memory_gb}; give a number from 0 on")
        if not 0 < self.scale_jitter <= 1:
            raise SeesrError(f"scale_jitter is {self.scale_jitter}; give a share of the size, above 0 and up to 1")
        workers: int = getattr(self, "workers", 0)  # of the loop
        if self.on_device and (workers or self.scale_jitter != 1):
            raise SeesrError("on_device makes samples in the training step: set workers to 0, leave scale_jitter out")


def load_photos(
    sources: list[str],
    minimum: int,
    *,
    small: Literal["error", "skip"] = "error",
    memory_gb: float = MEMORY_GB,
    tagger: str | None = None,
    whole: bool = False,
) -> Sequence[TrainingPhoto]:
    """Photos of folders and tar shards (WebDataset layout), in the order of `sources`, then of their names.

    Args:
        sources: folders, `.tar` files, or URLs of indexed ones; `*`, `?` and `{000..012}` are expanded.
        minimum: smallest width and height to keep, in pixels.
        small: whether smaller ones are an error, or left out, counted and reported.
        memory_gb: a set that needs no more than this is decoded at once, with every damaged picture found before the
            start; a larger set is decoded picture by picture and keeps what fits (shared among worker processes).
        tagger: hash of a tagger whose tags of each photo come along (see `tag_files`).
        whole: whether a set that needs more than `memory_gb` is an error.

    Raises:
        SeesrError: a source is missing, holds no picture, is a shard cut short, has photos smaller than `minimum`, or
            has no tags of this tagger; or see `whole`.
    """
    entries: list[Entry] = []
    for source in (path for pattern in sources for path in expand(pattern)):
        found = list_entries(source)
        entries += read_tags(source, found, tagger) if tagger else found
    count = len(entries)
    entries = _large_enough(entries, minimum, small)
    decoded_gb = 3e-9 * sum(entry.width * entry.height for entry in entries)
    if decoded_gb > memory_gb:
        if whole:
            raise SeesrError(
                f"on_device: {count} photos need {decoded_gb:.1f} GB decoded, more than memory_gb ({memory_gb:g}); "
                "raise it if the device has the room, or leave on_device out"
            )
        logger.info("%d photos need more than memory_gb=%g decoded: they are read while training", count, memory_gb)
        return StreamedPhotos(entries, memory_gb)
    photos: list[TrainingPhoto] = []
    damaged: list[str] = []
    for entry in entries:
        try:
            photos.append(decode(entry))
        except DamagedError as error:
            damaged.append(str(error))
    if damaged:
        logger.warning("left out %d damaged pictures, the first is %s", len(damaged), damaged[0])
    if not photos:
        raise SeesrError(f"none of the {count} pictures in {', '.join(sources)} can be read")
    return photos


class DamagedError(Exception):
    """A picture that cannot be decoded; says which and why."""


def decode(entry: Entry) -> TrainingPhoto:
    """Read and decode a picture, upright.

    Raises:
        DamagedError: its content is damaged.
        SeesrError: its file cannot be read.
    """
    content = entry.read()
    if entry.sha256 and hashlib.sha256(content).hexdigest() != entry.sha256:
        raise DamagedError(f"{entry.path} (its SHA-256 is not that of the index)")
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedError(f"{entry.path} ({error})") from None
    return TrainingPhoto(entry.path, pixels, entry.info, entry.tags)


class StreamedPhotos(Sequence[TrainingPhoto]):
    """Photos decoded when asked for; as many as fit into `memory_gb` stay decoded.

    A damaged picture is replaced by the next one, always the same; the worker processes of a data loader share which
    are damaged.
    """

    def __init__(self, entries: list[Entry], memory_gb: float):
        self.entries = entries
        self._damaged = torch.zeros(len(entries), dtype=torch.bool).share_memory_()
        self._room = memory_gb * 1e9  # bytes, of all workers together
        self._kept: dict[int, TrainingPhoto] = {}

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> TrainingPhoto: ...
    @overload
    def __getitem__(self, index: slice) -> "StreamedPhotos": ...
    def __getitem__(self, index: int | slice) -> "TrainingPhoto | StreamedPhotos":
        if isinstance(index, slice):
            return StreamedPhotos(self.entries[index], self._room / 1e9)
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        for step in range(min(len(self), _NEIGHBOURS)):
            place = (index + step) % len(self)
            if place in self._kept:
                return self._kept[place]
            if bool(self._damaged[place]):
                continue
            try:
                photo = decode(self.entries[place])
            except DamagedError as error:
                self._damaged[place] = True
                logger.warning("left out a damaged picture, the %d. of this run: %s", self.damaged, error)
                continue
            self._keep(place, photo)
            return photo
        raise SeesrError(
            f"none of {min(len(self), _NEIGHBOURS)} pictures from {self.entries[index].path} on can be read"
        )

    @property
    def damaged(self) -> int:
        """Pictures found damaged so far."""
        return int(self._damaged.sum())

    def _keep(self, place: int, photo: TrainingPhoto) -> None:
        worker = get_worker_info()
        if photo.pixels.nbytes <= self._room:
            self._kept[place] = photo
            self._room -= photo.pixels.nbytes * (worker.num_workers if worker else 1)


def _large_enough(entries: list[Entry], minimum: int, small: Literal["error", "skip"]) -> list[Entry]:
    """Those that are; one without a readable header (0 x 0) counts as damaged, not as small."""
    sides = [min(entry.width, entry.height) or math.inf for entry in entries]
    too_small = [entry for entry, side in zip(entries, sides) if side < minimum]
    some_are_of_use = any(minimum <= side < math.inf for side in sides)
    if not too_small:
        return entries
    first = too_small[0]
    tale = (
        f"{len(too_small)} of {len(entries)} photos are smaller than the crop of {minimum} pixels, the first is "
        f"{first.path} ({first.width}x{first.height})"
    )
    if small == "error" or not some_are_of_use:
        raise SeesrError(f"{tale}; remove them, set small_photos to skip, or make the crop smaller")
    logger.warning("left out: %s", tale)
    return [entry for entry, side in zip(entries, sides) if side >= minimum]
