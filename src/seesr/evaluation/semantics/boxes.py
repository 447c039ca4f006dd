"""Box AP: COCO's average precision of detections (arXiv 1405.0312), by its reference implementation, pycocotools.

AP is the mean over categories and over overlap thresholds .50, .55 … .95 of the area under the interpolated
precision-recall curve, from the 100 most certain detections a picture.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesr.errors import SeesrError
from seesr.evaluation.semantics.coco import Instances

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""Mean over thresholds; at overlaps of .5 and .75; of small (< 32² pixels), medium and large (> 96²) objects."""


@dataclass(frozen=True)
class Detections:
    """What was found in one picture.

    boxes: (n, 4), x, y, width, height in pixels. scores: (n,), higher is more certain. categories: (n,) ids.
    """

    boxes: np.ndarray
    scores: np.ndarray
    categories: np.ndarray

    def results(self, image_id: int) -> list[dict[str, Any]]:
        """Rows of COCO's results format."""
        return [
            {"image_id": image_id, "category_id": int(category), "bbox": [round(x, 3) for x in box], "score": score}
            for box, score, category in zip(self.boxes.tolist(), self.scores.tolist(), self.categories.tolist())
        ]


@dataclass(frozen=True)
class BoxScores:
    """Percentages. summary: by `NAMES`; None where the ground truth has no such object. categories: AP by id."""

    summary: dict[str, float | None]
    categories: dict[int, float | None]


def load_pycocotools() -> tuple[Any, Any]:
    """Its classes COCO and COCOeval.

    Raises:
        SeesrError: it is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise SeesrError(f"box AP needs pycocotools ({error}); pip install 'seesr[eval]'") from None
    return COCO, COCOeval


def box_ap(truth: Instances, detections: Mapping[str, Detections]) -> BoxScores:
    """Score the pictures that `detections` has entries for; an empty entry is a picture in which nothing was found.

    Raises:
        SeesrError: a detection of a category, or in a picture, that the ground truth does not know; no pycocotools.
    """
    COCO, COCOeval = load_pycocotools()
    known = {category.id for category in truth.categories}
    found = []
    for name, one in detections.items():
        if name not in truth.pictures:
            raise SeesrError(f"{name}: has no annotations in {truth.file}")
        if unknown := set(one.categories.tolist()) - known:
            raise SeesrError(f"{name}: a detection has category {min(unknown)}, which {truth.file} does not have")
        found += one.results(truth.pictures[name].id)
    objects = [
        {
            "image_id": truth.pictures[name].id,
            "category_id": box.category,
            "bbox": list(box.bbox),
            "area": box.area,
            "iscrowd": int(box.crowd),
        }
        for name in detections
        for box in truth.boxes.get(name, [])
    ]
    for row in found:
        row |= {"area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        sides = []
        for rows in (objects, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": truth.pictures[name].id} for name in detections],
                "categories": [{"id": category.id} for category in truth.categories],
                "annotations": [row | {"id": i + 1} for i, row in enumerate(rows)],  # an id of 0 would match nothing
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][..., 0, 2]  # (thresholds, recalls, categories): all sizes, 100 a picture
    return BoxScores(
        {name: _percent(evaluation.stats[i : i + 1]) for i, name in enumerate(NAMES)},
        {int(category): _percent(precision[:, :, k]) for k, category in enumerate(evaluation.params.catIds)},
    )


def _percent(values: np.ndarray | Sequence[float]) -> float | None:
    """Mean of those that exist (pycocotools writes -1 where there is nothing to find), times 100."""
    values = np.asarray(values)
    values = values[values > -1]
    return float(values.mean() * 100) if values.size else None
