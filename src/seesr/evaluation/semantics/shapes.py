"""A small COCO-format set to try everything on: coloured shapes on crops of real photos, annotated exactly.

Discs, squares and triangles are things, the photo behind them is stuff; one object in eight is marked as a crowd,
and every picture has an unannotated strip, so that all of COCO's rules have work to do.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from seesr.data.samples import TrainingPhoto, load_photos
from seesr.errors import SeesrError
from seesr.evaluation.semantics.coco import to_colors
from seesr.system.atomic import new_folder, write_text

THINGS = ("disc", "square", "triangle")
STUFF = "photo"
CROWD_SHARE = 1 / 8
UNANNOTATED_ROWS = 4  # at the bottom of every picture
_SHARPER = 4  # shapes are drawn this much larger, for smooth borders


def make_shapes(folder: Path, photos: Sequence[str], count: int, size: int = 256, seed: int = 0) -> None:
    """Write `folder`/pictures/*.png, instances.json, panoptic.json and panoptic/*.png.

    Args:
        photos: folders or shards to cut backgrounds from. count: pictures. size: their side in pixels.

    Raises:
        SeesrError: photos that are missing or smaller than `size`, a count or size too small, or a `folder` that holds
            something already.
    """
    if count < 1 or size < 64:
        raise SeesrError(f"cannot make {count} pictures of {size} pixels; give 1 or more, of 64 or more")
    with new_folder(folder) as partial:
        _make(partial, load_photos(list(photos), size), count, size, seed)


def _make(folder: Path, backgrounds: Sequence[TrainingPhoto], count: int, size: int, seed: int) -> None:
    categories = [{"id": i + 1, "name": name, "isthing": int(name != STUFF)} for i, name in enumerate((*THINGS, STUFF))]
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    panoptic: list[dict[str, Any]] = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        photo = backgrounds[number % len(backgrounds)].pixels
        top, left = (int(rng.integers(side - size + 1)) for side in photo.shape[:2])
        picture = Image.fromarray(photo[top : top + size, left : left + size])
        ids = np.full((size, size), 1)  # segment 1 is the photo
        kinds: dict[int, tuple[int, bool]] = {1: (len(THINGS), False)}
        for segment in range(2, 2 + int(rng.integers(2, 6))):
            kind, crowd = int(rng.integers(len(THINGS))), bool(rng.random() < CROWD_SHARE)
            cover = _shape(rng, THINGS[kind], size)
            picture.paste(_color(rng), mask=cover)
            ids[np.asarray(cover) > 127] = segment
            kinds[segment] = (kind, crowd)
        ids[-UNANNOTATED_ROWS:] = 0
        segments = _segments(ids, kinds)
        name = f"{number:06d}"
        images.append({"id": number + 1, "file_name": f"{name}.png", "width": size, "height": size})
        for entry in segments:
            if entry["category_id"] <= len(THINGS):
                objects.append(entry | {"id": len(objects) + 1, "image_id": number + 1})
        panoptic.append({"image_id": number + 1, "file_name": f"{name}.png", "segments_info": segments})
        for place, pixels in (("pictures", picture), ("panoptic", Image.fromarray(to_colors(ids)))):
            (folder / place).mkdir(parents=True, exist_ok=True)
            pixels.save(folder / place / f"{name}.png")
    things = categories[: len(THINGS)]
    for file, annotations, known in (("instances", objects, things), ("panoptic", panoptic, categories)):
        content = {"images": images, "annotations": annotations, "categories": known}
        write_text(folder / f"{file}.json", json.dumps(content))


def _shape(rng: np.random.Generator, kind: str, size: int) -> Image.Image:
    """Cover of one shape, mode L, 255 inside."""
    radius = rng.uniform(0.05, 0.16) * size
    x, y = rng.uniform(radius, size - radius, 2)
    turn = rng.uniform(0, 2 * np.pi)
    corners = {"disc": 64, "square": 4, "triangle": 3}[kind]
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1) * _SHARPER
    cover = Image.new("L", (size * _SHARPER, size * _SHARPER))
    ImageDraw.Draw(cover).polygon([tuple(point) for point in points.tolist()], fill=255)
    return cover.resize((size, size), Image.Resampling.BOX)


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    """A strong colour: one channel high, one low."""
    levels = rng.permutation((int(rng.integers(200, 256)), int(rng.integers(0, 56)), int(rng.integers(0, 256))))
    return int(levels[0]), int(levels[1]), int(levels[2])


def _segments(ids: np.ndarray, kinds: dict[int, tuple[int, bool]]) -> list[dict[str, Any]]:
    """COCO's entries of the segments that are still to be seen, those beneath others cut to what shows."""
    found = []
    for segment, (kind, crowd) in kinds.items():
        rows, columns = np.nonzero(ids == segment)
        if not rows.size:
            continue
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
        entry = {"id": segment, "category_id": kind + 1, "iscrowd": int(crowd), "area": int(rows.size), "bbox": box}
        found.append(entry)
    return found
