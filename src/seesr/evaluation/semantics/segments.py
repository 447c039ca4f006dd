"""Panoptic quality (Kirillov et al. 2019, arXiv 1801.00868) and mean intersection over union.

No well-kept package follows COCO's rules for crowds and unannotated pixels, so this is an own implementation, compared
with torchmetrics in the tests where the two agree on the rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seesr.evaluation.semantics.coco import Category, SegmentMap

NOTHING = -1
"""In a map of categories: no category (unannotated, or not recognised)."""

MATCH = 0.5
"""Two segments whose overlap (IoU) is above it are a match; no segment can have two (section 4.1 of the paper)."""


@dataclass
class _Tally:
    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    iou: float = 0.0


@dataclass(frozen=True)
class SegmentScores:
    """Percentages. summary: PQ, SQ, RQ, PQ_things, PQ_stuff. categories: PQ by id; None: neither there nor seen."""

    summary: dict[str, float | None]
    categories: dict[int, float | None]


class PanopticQuality:
    """PQ = sum of the matches' IoU / (TP + FP/2 + FN/2) a category, then the mean over categories.

    COCO's rules: unannotated pixels do not count in unions; a predicted segment without match that lies mostly in
    them or in a crowd of its category is no mistake; crowds need not be found.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = categories
        self._tallies = {category.id: _Tally() for category in categories}

    def add(self, truth: SegmentMap, predicted: SegmentMap) -> None:
        """Count one picture; the two maps are of the same size, and their categories are known."""
        true_areas, areas = _areas(truth.ids), _areas(predicted.ids)
        pairs, counts = np.unique(np.stack([truth.ids.ravel(), predicted.ids.ravel()]), axis=1, return_counts=True)
        overlaps = {(int(t), int(p)): int(n) for t, p, n in zip(*pairs, counts)}

        matched: set[tuple[int, int]] = set()
        for (t, p), shared in overlaps.items():
            if not t or not p or t in truth.crowd or truth.categories[t] != predicted.categories[p]:
                continue
            iou = shared / (true_areas[t] + areas[p] - shared - overlaps.get((0, p), 0))
            if iou > MATCH:
                tally = self._tallies[truth.categories[t]]
                tally.true_positives += 1
                tally.iou += iou
                matched.add((t, p))

        found, explained = {t for t, _ in matched}, {p for _, p in matched}
        for t, category in truth.categories.items():
            if t not in found and t not in truth.crowd and t in true_areas:
                self._tallies[category].false_negatives += 1
        for p, category in predicted.categories.items():
            if p in explained or p not in areas:
                continue
            crowds = (t for t in truth.crowd if truth.categories[t] == category)
            excused = overlaps.get((0, p), 0) + sum(overlaps.get((t, p), 0) for t in crowds)
            if excused / areas[p] <= MATCH:
                self._tallies[category].false_positives += 1

    def result(self) -> SegmentScores:
        """PQ and its factors: segmentation quality (mean IoU of matches) and recognition quality (F1 of matches)."""
        rows = {}
        for category, tally in self._tallies.items():
            mistakes = (tally.false_positives + tally.false_negatives) / 2
            if tally.true_positives + mistakes:
                rows[category] = (
                    tally.iou / (tally.true_positives + mistakes),
                    tally.iou / tally.true_positives if tally.true_positives else 0.0,
                    tally.true_positives / (tally.true_positives + mistakes),
                )
        things = {category.id for category in self.categories if category.is_thing}
        summary = {name: _mean_percent([row[i] for row in rows.values()]) for i, name in enumerate(("PQ", "SQ", "RQ"))}
        summary["PQ_things"] = _mean_percent([row[0] for category, row in rows.items() if category in things])
        summary["PQ_stuff"] = _mean_percent([row[0] for category, row in rows.items() if category not in things])
        by_category = {c.id: rows[c.id][0] * 100 if c.id in rows else None for c in self.categories}
        return SegmentScores(summary, by_category)


@dataclass
class MeanIoU:
    """IoU of each category over all pixels of all pictures, then the mean over the categories that are annotated.

    Unannotated pixels do not count. Counts: pixels shared, predicted and annotated, by category.
    """

    categories: Sequence[Category]
    _shared: dict[int, int] = field(default_factory=dict)
    _predicted: dict[int, int] = field(default_factory=dict)
    _true: dict[int, int] = field(default_factory=dict)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Count one picture: two maps (H, W) of category ids, `NOTHING` where there is none."""
        annotated = truth != NOTHING
        for counts, values in (
            (self._shared, truth[annotated & (truth == predicted)]),
            (self._predicted, predicted[annotated]),
            (self._true, truth[annotated]),
        ):
            for category, count in _areas(values).items():
                counts[category] = counts.get(category, 0) + count

    def result(self) -> SegmentScores:
        """`summary` has mIoU; `categories` the IoU of each, None where it is not annotated."""
        ious: dict[int, float | None] = {category.id: None for category in self.categories}
        for category, true in self._true.items():
            shared = self._shared.get(category, 0)
            ious[category] = 100 * shared / (true + self._predicted.get(category, 0) - shared)
        found = [iou for iou in ious.values() if iou is not None]
        return SegmentScores({"mIoU": float(np.mean(found)) if found else None}, ious)


def category_map(segments: SegmentMap) -> np.ndarray:
    """Panoptic segments → (H, W) int64 of category ids, `NOTHING` where there is no segment."""
    ids, places = np.unique(segments.ids, return_inverse=True)
    values = np.array([segments.categories.get(int(i), NOTHING) for i in ids], dtype=np.int64)
    return values[places].reshape(segments.ids.shape)


def _areas(ids: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def _mean_percent(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) * 100 if values else None
