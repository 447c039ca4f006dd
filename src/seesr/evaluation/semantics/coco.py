"""COCO-format ground truth (Lin et al. 2014, arXiv 1405.0312; panoptic: Kirillov et al. 2019, arXiv 1801.00868).

`instances_*.json` holds boxes; `panoptic_*.json` goes with a folder of PNG files whose pixels are segment ids,
R + 256 G + 256² B, and 0 where nothing was annotated. Pictures go by their file name without folder and suffix, so that
a restored PNG finds the annotations of its JPEG.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seesr.errors import SeesrError


@dataclass(frozen=True)
class Category:
    """id: as annotations refer to it. is_thing: countable (a car), not stuff (sky)."""

    id: int
    name: str
    is_thing: bool = True


@dataclass(frozen=True)
class AnnotatedPicture:
    """An entry of `images`; size in pixels."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class Box:
    """An annotated object: (x, y, width, height) in pixels. area: of its mask. crowd: a group that no one counted."""

    category: int
    bbox: tuple[float, float, float, float]
    area: float
    crowd: bool


@dataclass(frozen=True)
class SegmentMap:
    """A panoptic segmentation.

    ids: (H, W) int64, 0 where there is no segment. categories: category of each id. crowd: ids of uncounted groups.
    """

    ids: np.ndarray
    categories: Mapping[int, int]
    crowd: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Instances:
    """`instances_*.json`. pictures, boxes: by picture's name."""

    file: Path
    pictures: dict[str, AnnotatedPicture]
    categories: list[Category]
    boxes: dict[str, list[Box]]


@dataclass(frozen=True)
class Panoptic:
    """`panoptic_*.json` and its folder of PNG files. pictures, annotations: by picture's name."""

    file: Path
    masks: Path
    pictures: dict[str, AnnotatedPicture]
    categories: list[Category]
    annotations: dict[str, dict[str, Any]]

    def read(self, name: str) -> SegmentMap:
        """The segments of a picture.

        Raises:
            SeesrError: a PNG file that is missing, damaged or of another size than the picture, or that does not
                hold the segments the JSON file lists.
        """
        annotation, picture = self.annotations[name], self.pictures[name]
        path = self.masks / annotation["file_name"]
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
        except (OSError, SyntaxError) as error:
            raise SeesrError(f"{path}: the segments of {name} cannot be read ({error}); see {self.file}") from None
        if pixels.shape[:2] != (picture.height, picture.width):
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise SeesrError(f"{path} is {size}, but {self.file} says {picture.width}x{picture.height}")
        ids = pixels @ (1, 256, 65536)  # (H, W)
        categories = {segment["id"]: segment["category_id"] for segment in annotation["segments_info"]}
        if wrong := set(np.unique(ids).tolist()) - {0} ^ categories.keys():
            raise SeesrError(
                f"{path}: segment {min(wrong)} is in only one of this file and {self.file}; fetch both again"
            )
        crowd = frozenset(segment["id"] for segment in annotation["segments_info"] if segment.get("iscrowd"))
        return SegmentMap(ids, categories, crowd)


def read_instances(file: Path) -> Instances:
    """Read `instances_*.json`.

    Raises:
        SeesrError: not such a file, or one that contradicts itself; names the entry.
    """
    content = _read(file)
    pictures, categories = _pictures(file, content), _categories(file, content)
    names = {picture.id: name for name, picture in pictures.items()}
    known = {category.id for category in categories}
    boxes = defaultdict(list)
    for entry in content["annotations"]:
        try:
            image_id, category, bbox = entry["image_id"], entry["category_id"], tuple(map(float, entry["bbox"]))
            x, y, width, height = bbox
        except (KeyError, TypeError, ValueError):
            raise SeesrError(f"{file}: annotation {entry!r:.80} has no image_id, category_id or bbox of four") from None
        _check_ids(file, image_id, category, names, known)
        if width < 0 or height < 0:
            raise SeesrError(f"{file}: the box {entry['bbox']} in picture {image_id} has a negative size")
        area = float(entry.get("area", width * height))
        boxes[names[image_id]].append(Box(category, (x, y, width, height), area, bool(entry.get("iscrowd"))))
    return Instances(file, pictures, categories, dict(boxes))


def read_panoptic(file: Path) -> Panoptic:
    """Read `panoptic_*.json`; its PNG files are looked for beside it, in the folder of its name without suffix.

    Raises:
        SeesrError: no such folder, not such a file, or one that contradicts itself; names the entry.
    """
    content = _read(file)
    pictures, categories = _pictures(file, content), _categories(file, content)
    names = {picture.id: name for name, picture in pictures.items()}
    known = {category.id for category in categories}
    masks = file.with_suffix("")
    if not masks.is_dir():
        raise SeesrError(f"{masks}: no such folder; the PNG files of {file.name} belong there")
    annotations = {}
    for entry in content["annotations"]:
        try:
            image_id, segments = entry["image_id"], entry["segments_info"]
            found = [segment["category_id"] for segment in segments if segment["id"] > 0]
            _ = entry["file_name"]
        except (KeyError, TypeError):
            raise SeesrError(
                f"{file}: annotation {entry!r:.80} has no image_id, file_name or segments_info; is it a panoptic file?"
            ) from None
        for category in found or [None]:
            _check_ids(file, image_id, category, names, known)
        annotations[names[image_id]] = entry
    return Panoptic(file, masks, pictures, categories, annotations)


def check_pictures(
    truth: Instances | Panoptic, sizes: Mapping[str, tuple[int, int]], files: Mapping[str, Path]
) -> None:
    """Make sure, before any work, that all pictures are annotated, at their size (width, height).

    Raises:
        SeesrError: one is not, or the PNG file of its segments is missing; names the file.
    """
    for name, size in sizes.items():
        picture = truth.pictures.get(name)
        if picture is None or (isinstance(truth, Panoptic) and name not in truth.annotations):
            raise SeesrError(f"{files[name]}: has no annotations in {truth.file}; add them or take the picture out")
        if isinstance(truth, Panoptic) and not (mask := truth.masks / truth.annotations[name]["file_name"]).is_file():
            raise SeesrError(f"{mask}: is missing; {truth.file} says that it holds the segments of {name}")
        if size != (picture.width, picture.height):
            sizes_text = f"{size[0]}x{size[1]}, but {truth.file} says {picture.width}x{picture.height}"
            raise SeesrError(f"{files[name]} is {sizes_text}; the annotations are of another version of the picture")


def to_colors(ids: np.ndarray) -> np.ndarray:
    """Segment ids (H, W) → pixels (H, W, 3) of a panoptic PNG file, R + 256 G + 256² B."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SeesrError(f"{file}: cannot be read ({error.strerror}); give COCO annotations") from None
    except ValueError as error:
        raise SeesrError(f"{file}: no JSON file ({error})") from None
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
        raise SeesrError(f"{file}: not in COCO's format; it needs lists called {', '.join(parts)}")
    return content


def _pictures(file: Path, content: dict[str, Any]) -> dict[str, AnnotatedPicture]:
    pictures: dict[str, AnnotatedPicture] = {}
    for entry in content["images"]:
        try:
            picture = AnnotatedPicture(entry["id"], entry["file_name"], int(entry["width"]), int(entry["height"]))
        except (KeyError, TypeError, ValueError):
            raise SeesrError(f"{file}: image {entry!r:.80} has no id, file_name, width or height") from None
        name = Path(picture.file_name).stem
        if name in pictures:
            raise SeesrError(f"{file}: two images are called {name}; pictures must differ in their file names")
        pictures[name] = picture
    return pictures


def _categories(file: Path, content: dict[str, Any]) -> list[Category]:
    try:
        categories = [
            Category(int(entry["id"]), str(entry["name"]), bool(entry.get("isthing", True)))
            for entry in content["categories"]
        ]
    except (KeyError, TypeError, ValueError):
        raise SeesrError(f"{file}: a category has no id or name") from None
    if len({category.id for category in categories}) < len(categories) or not categories:
        raise SeesrError(f"{file}: has no categories, or two of the same id")
    return sorted(categories, key=lambda category: category.id)


def _check_ids(file: Path, image_id: Any, category: int | None, names: Collection[Any], known: Collection[int]) -> None:
    if image_id not in names:
        raise SeesrError(f"{file}: an annotation is of picture {image_id}, which is not among the images")
    if category is not None and category not in known:
        raise SeesrError(f"{file}: an annotation in picture {image_id} has category {category}, which does not exist")
