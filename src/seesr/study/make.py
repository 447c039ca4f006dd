"""A study's folder from folders of pictures: checked, renamed, re-encoded alike, with attention checks, and the page.

All pictures become lossless WebP without metadata under random names, so that neither name, format nor origin tells
which method made them. Everything is checked before anything is written.
"""

import io
import json
import os
import random
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path

from PIL import Image, ImageFilter

from seesr.data.pairs import pair_images
from seesr.errors import SeesrError
from seesr.photos.photo import read_photo
from seesr.study.design import DEGRADED, GOOD, PUBLIC, Part, Question, Study, write_study
from seesr.system.atomic import new_folder

LONGEST = 16383
"""Pixels a side that WebP can hold."""


_WHEN = 1_000_000_000
"""Time stamp of all pictures: their own would tell the order in which methods were written."""


@dataclass(frozen=True)
class StudyPhoto:
    """One photo of a part: files by what they show; `size` is (width, height) of all but the low-resolution one."""

    name: str
    size: tuple[int, int]
    lowres: Path | None
    reference: Path | None
    restored: dict[str, Path]


def make_study(
    output: Path,
    methods: Sequence[tuple[str, Path]],
    *,
    lr: Path | None = None,
    hr: Path | None = None,
    real: Path | None = None,
    mode: str = "choice",
    title: str = "Which picture is better?",
    photos: int | None = None,
    questions: int = 32,
    checks: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Study:
    """Make a study in the new folder `output`.

    Args:
        methods: (name, folder of its pictures); a name may occur twice; its folders are then read together.
        lr, hr: low-resolution photos and their references: the part "closest". `hr` without `lr` will do.
        real: low-resolution photos without reference: the part "best".
        mode: "choice" (all methods at once) or "pairs".
        photos: a random sample of so many per part, drawn with `seed`, instead of all.
        questions: pairs a rater gets per part, at most; not used in mode "choice".
        checks: attention checks per part.
        progress: called with (pictures written, pictures in all).

    Raises:
        SeesrError: folders whose pictures do not belong together, a picture that cannot be read, an existing `output`.
    """
    if output.exists():
        raise SeesrError(f"{output}: exists already; choose another folder, votes may be in this one")
    if mode not in ("choice", "pairs"):
        raise SeesrError(f"`mode` cannot be {mode!r}; use choice or pairs")
    folders = _method_folders(methods)
    wanted = [("closest", lr, hr)] if lr or hr else []
    wanted += [("best", real, None)] if real else []
    if not wanted:
        raise SeesrError("a study needs photos: give `lr` and `hr`, or `real`, or all three")
    if lr and not hr:
        raise SeesrError("`lr` needs the references of its photos, `hr`; photos without references go with `real`")
    numbers = (("photos", photos, 1), ("questions", questions, 1), ("checks", checks, 0))
    for name, number, least in numbers:
        if number is not None and number < least:
            raise SeesrError(f"`{name}` cannot be {number}; the least is {least}")

    pictures = {name: _pictures(found) for name, found in folders.items()}
    parts = {kind: _photos(kind, low, high, pictures, photos, seed) for kind, low, high in wanted}

    with new_folder(output) as partial:
        (partial / PUBLIC / "images").mkdir(parents=True)
        writer = _Writer(partial / PUBLIC / "images", _count(parts, len(folders), checks), progress)
        made = tuple(_part(kind, found, mode, questions, checks, seed, writer) for kind, found in parts.items())
        study = Study(secrets.token_hex(8), title, mode, tuple(folders), made)
        write_study(study, partial)
        (partial / PUBLIC / "index.html").write_text(page(study), encoding="utf-8")
    return study


def page(study: Study) -> str:
    """The raters' page: one HTML file, with script and style inside and the pictures beside it."""
    source = files("seesr.study") / "page"
    data = json.dumps(study.public(), separators=(",", ":")).replace("<", "\\u003c")
    text = (source / "page.html").read_text(encoding="utf-8")
    parts = {"style": (source / "page.css").read_text(encoding="utf-8"), "data": data}
    parts["script"] = "".join((source / name).read_text(encoding="utf-8") for name in ("page.js", "question.js"))
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], text)  # at once: braces in names stay


# ------------------------------------------------------------------------------------------------------------ checking


def _method_folders(methods: Sequence[tuple[str, Path]]) -> dict[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    for name, folder in methods:
        folders.setdefault(name, []).append(folder)
    if len(folders) < 2:
        raise SeesrError("a study compares at least two methods; give more with `methods`")
    if len(folders) > 9:
        raise SeesrError(f"{len(folders)} methods are more than raters can tell apart; the most is 9")
    return folders


def _pictures(folders: list[Path]) -> dict[str, Path]:
    """Pictures of one method by name without suffix."""
    found: dict[str, Path] = {}
    for folder in folders:
        for pair in pair_images(folder, None):
            if pair.name in found:
                raise SeesrError(f"{pair.restored}: {found[pair.name]} has the same name; keep one of the two")
            found[pair.name] = pair.restored
    return found


def _photos(
    kind: str,
    low: Path | None,
    high: Path | None,
    pictures: dict[str, dict[str, Path]],
    count: int | None,
    seed: int,
) -> list[StudyPhoto]:
    """A part's photos, each with all its files, whose names and sizes belong together."""
    lowres = {pair.name: pair.restored for pair in pair_images(low, None)} if low else {}
    references = {pair.name: pair.restored for pair in pair_images(high, None)} if high else {}
    names = sorted(lowres or references)
    if low and high:
        _same_names(names, references, high, lowres)
    for method, found in pictures.items():
        _same_names(names, found, f"the pictures of {method}", lowres or references)
    if count is not None:
        if count > len(names):
            raise SeesrError(f"`photos` cannot be {count}: {low or high} has only {len(names)}")
        names = sorted(random.Random(seed).sample(names, count))
    return [
        _photo(name, lowres.get(name), references.get(name), {method: pictures[method][name] for method in pictures})
        for name in names
    ]


def _same_names(names: list[str], found: dict[str, Path], where: object, files: dict[str, Path]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        more = f" (nor {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise SeesrError(f"{files[missing[0]]}: no picture of that name{more} in {where}; add it or take this one out")


def _photo(name: str, lowres: Path | None, reference: Path | None, restored: dict[str, Path]) -> StudyPhoto:
    same = ([reference] if reference else []) + list(restored.values())
    width, height = size = _size(same[0])
    for path in same[1:]:
        if _size(path) != size:
            raise SeesrError(
                f"{path}: {_size(path)[0]} x {_size(path)[1]} pixels, but {same[0]} has {width} x {height}; "
                "all pictures of a photo must have one size"
            )
    if max(size) > LONGEST:
        raise SeesrError(f"{same[0]}: {width} x {height} pixels; the most a side is {LONGEST}, cut it")
    if lowres:
        w, h = _size(lowres)
        if abs(w * height - h * width) > max(width, height):  # more than a pixel of the low-resolution photo
            raise SeesrError(
                f"{lowres}: {w} x {h} pixels are of another shape than {same[0]}'s {width} x {height}; "
                "are they one photo?"
            )
    return StudyPhoto(name, size, lowres, reference, restored)


def _size(path: Path) -> tuple[int, int]:
    return read_photo(path).rgb.size


def _count(parts: dict[str, list[StudyPhoto]], methods: int, checks: int) -> int:
    """Pictures that will be written."""
    shown = [photo for photos in parts.values() for photo in photos]
    sources = sum((photo.lowres is not None) + (photo.reference is not None) for photo in shown)
    return sources + methods * len(shown) + checks * len(parts) * methods


# ------------------------------------------------------------------------------------------------------------- writing


class _Writer:
    """Writes pictures under random names; a name is returned without suffix."""

    def __init__(self, folder: Path, total: int, progress: Callable[[int, int], None]) -> None:
        self.folder, self.total, self.progress, self.done = folder, total, progress, 0

    def __call__(self, image: Image.Image) -> str:
        name = secrets.token_hex(8)
        clean = Image.frombytes("RGB", image.size, image.tobytes())  # pixels only
        path = self.folder / f"{name}.webp"
        clean.save(path, "WEBP", lossless=True, quality=50, method=3)
        os.utime(path, (_WHEN, _WHEN))
        self.done += 1
        self.progress(self.done, self.total)
        return name


def _part(
    kind: str,
    photos: list[StudyPhoto],
    mode: str,
    take: int,
    checks: int,
    seed: int,
    write: Callable[[Image.Image], str],
) -> Part:
    """Write a part's pictures and ask its questions."""
    rng = random.Random(seed)
    checked = {photo.name: 0 for photo in photos}
    for i in range(checks):  # spread over the photos as evenly as can be
        checked[rng.choice([name for name in checked if checked[name] == i // len(photos)])] += 1
    asked: list[Question] = []
    wanted = list(combinations(photos[0].restored, 2))
    rng.shuffle(wanted)
    for i, photo in enumerate(photos):
        images = {method: read_photo(path).rgb for method, path in photo.restored.items()}
        reference = read_photo(photo.reference).rgb if photo.reference else None
        lowres = read_photo(photo.lowres).rgb.resize(photo.size, Image.Resampling.BICUBIC) if photo.lowres else None
        enlarged = write(lowres) if lowres else None
        source = write(reference) if reference else enlarged
        assert source is not None
        beside = enlarged if reference else None
        names = {method: write(image) for method, image in images.items()}

        choices: list[tuple[dict[str, str], int | None]] = []  # candidates, round
        if mode == "choice":
            choices.append(({names[method]: method for method in names}, 0))
        else:
            # a cyclic design: each round has every photo once and every pair of methods about equally often
            for j, pair in enumerate(wanted):
                choices.append(({names[method]: method for method in pair}, (j - i) % len(wanted)))
        for _ in range(checked[photo.name]):
            good = reference or images[rng.choice(sorted(images))]
            others = (len(images) if mode == "choice" else 2) - 1
            bad = [degrade_heavily(good, rng) for _ in range(others)]
            choices.append(({write(good): GOOD} | {write(image): DEGRADED for image in bad}, None))
        for candidates, turn in choices:
            hidden = dict(sorted(candidates.items()))
            asked.append(Question(secrets.token_hex(8), photo.name, photo.size, source, beside, hidden, turn))
    available = sum(not question.is_check for question in asked)
    return Part(kind, available if mode == "choice" else min(take, available), tuple(asked))


def degrade_heavily(image: Image.Image, rng: random.Random) -> Image.Image:
    """A picture nobody attentive could prefer: a coarse, noisy, badly compressed version of `image`, of its size."""
    factor = rng.uniform(5, 8)
    small = image.resize([max(1, round(side / factor)) for side in image.size], Image.Resampling.BOX)
    noise = Image.effect_noise(small.size, rng.uniform(40, 70)).convert("RGB")
    small = Image.blend(small, noise, rng.uniform(0.08, 0.15))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=rng.randint(20, 40))
    coarse = Image.open(data).resize(image.size, Image.Resampling.BILINEAR)
    return coarse.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))
