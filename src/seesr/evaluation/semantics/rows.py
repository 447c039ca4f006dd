"""The pictures to compare: the originals (HR), the degraded ones enlarged bicubically (LR), and every method's.

These are the rows of the paper's table. The degraded pictures come with the test set, or are made from the originals.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seesr.data.pairs import Pair, pair_images
from seesr.degradation import degrade_photo, preset
from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Method
from seesr.evaluation.methods import make_method
from seesr.evaluation.results import Testset
from seesr.evaluation.run import (
    SCALE,
    EvaluationProgress,
    find_pairs,
    folder_name,
    read_testset,
    restore_testset,
)
from seesr.photos.files import write_photo
from seesr.photos.photo import read_photo

HR, LR = "HR", "LR"


@dataclass(frozen=True)
class Row:
    """One version of all pictures: files by picture's name, and what made them."""

    name: str
    files: dict[str, Path]
    settings: dict[str, Any]


def find_originals(folder: Path, degrade: str | None, limit: int | None) -> list[Pair]:
    """The pictures that `open_testset` opens; none is read yet, and with `degrade` none is made yet.

    Raises:
        SeesrError: no pictures, or no originals.
    """
    if degrade is not None:
        preset(degrade)  # tells of an unknown one
        if limit is not None and limit < 1:
            raise SeesrError(f"`limit` cannot be {limit}; it must be 1 or more")
        return [Pair(pair.name, pair.restored, pair.restored) for pair in pair_images(folder, None)[:limit]]
    pairs = find_pairs(folder, limit)
    if any(pair.reference is None for pair in pairs):
        raise SeesrError(f"{folder}: has no lr/ and hr/; to make the degraded pictures from these, use `degrade`")
    return pairs


def files_of_rows(names: Sequence[str], methods: Sequence[str], output: Path, degrade: str | None) -> list[Path]:
    """The files that `open_testset` and `make_rows` write. names: of the test pictures; methods: by name."""
    folders = [output / "restored" / folder_name(name) for name in dict.fromkeys(("bicubic", *methods))]
    folders += [output / "lr"] if degrade else []
    return [folder / f"{name}.png" for folder in folders for name in names]


def open_testset(folder: Path, degrade: str | None, seed: int, output: Path, limit: int | None) -> Testset:
    """A test set with originals.

    Args:
        folder: with lr/ and hr/; or, with `degrade`, with pictures from which the degraded ones are made.
        degrade: preset of `seesr.degradation`; the degraded pictures go to `output`/lr.
        seed: with the picture's name it decides the degradation, so that order and company change nothing.
        limit: the first so many by name.

    Raises:
        SeesrError: no originals, a damaged picture, an unknown preset.
    """
    originals = find_originals(folder, degrade, limit)
    if degrade is None:
        return read_testset(folder, limit)
    pairs = []
    for pair in originals:
        digest = hashlib.sha256(f"{seed} {pair.name}".encode()).digest()
        padded = _pad(read_photo(pair.restored).rgb)
        target = output / "lr" / f"{pair.name}.png"
        write_photo(degrade_photo(padded, degrade, int.from_bytes(digest[:8], "big")), target)
        pairs.append(Pair(pair.name, target, pair.restored))
    return Testset(folder, pairs, SCALE)


def make_rows(testset: Testset, methods: Sequence[Method], output: Path, progress: EvaluationProgress) -> list[Row]:
    """HR, LR and the methods' pictures, restored where they are missing below `output`/restored."""
    originals = {pair.name: pair.reference for pair in testset.pairs if pair.reference is not None}
    rows = [Row(HR, originals, {})]
    bicubic = make_method("bicubic", torch.device("cpu"))
    for name, method in {
        LR: bicubic,
        **{method.name: method for method in methods if method.name != "bicubic"},
    }.items():
        files, _ = restore_testset(testset, method, output / "restored" / folder_name(method.name), progress)
        rows.append(Row(name, files, method.settings))
    return rows


def sizes_of(row: Row) -> dict[str, tuple[int, int]]:
    """Width and height of each picture."""
    return {name: read_photo(file).rgb.size for name, file in row.files.items()}


def read_cut(file: Path, size: tuple[int, int]) -> Image.Image:
    """A picture of a row, without what was padded to it at the right and bottom: RGB, of (width, height) `size`."""
    return read_photo(file).rgb.crop((0, 0, *size))


def _pad(image: Image.Image) -> Image.Image:
    """Repeat the last column and row until the sides are multiples of the scale; degrading would cut them off."""
    pixels = np.asarray(image)
    right, bottom = (-side % SCALE for side in image.size)
    return Image.fromarray(np.pad(pixels, ((0, bottom), (0, right), (0, 0)), mode="edge"))
