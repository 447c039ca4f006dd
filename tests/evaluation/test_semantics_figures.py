"""AP, PQ, mIoU and the tag figures against values computed by hand and by other libraries."""

import json
from pathlib import Path

import numpy as np
import pytest

from seesr.errors import SeesrError
from seesr.evaluation.semantics.boxes import Detections, box_ap
from seesr.evaluation.semantics.coco import Category, SegmentMap, read_instances
from seesr.evaluation.semantics.segments import NOTHING, MeanIoU, PanopticQuality, category_map
from seesr.metrics.tags import FIGURES, Sight, paired_intervals, score_tags

CATEGORIES = [Category(1, "disc"), Category(2, "square"), Category(7, "sky", is_thing=False)]


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    """Two pictures; two discs and a crowd in the first, a square in the second."""
    content = {
        "images": [
            {"id": n, "file_name": f"{name}.jpg", "width": 200, "height": 100} for n, name in ((3, "a"), (4, "b"))
        ],
        "categories": [{"id": category.id, "name": category.name} for category in CATEGORIES],
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0},
            {"id": 1, "image_id": 3, "category_id": 1, "bbox": [50, 0, 40, 40], "area": 1600, "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 1, "bbox": [100, 0, 80, 80], "area": 6400, "iscrowd": 1},
            {"id": 3, "image_id": 4, "category_id": 2, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0},
        ],
    }
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    return file


def _detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, categories = zip(*rows) if rows else ((), (), ())
    return Detections(np.array(boxes, float).reshape(-1, 4), np.array(scores, float), np.array(categories, int))


def test_box_ap(instances: Path) -> None:
    truth = read_instances(instances)
    exact = {
        "a": _detections(([0, 0, 10, 10], 0.9, 1), ([50, 0, 40, 40], 0.8, 1)),
        "b": _detections(([0, 0, 10, 10], 0.1, 2)),
    }
    scores = box_ap(truth, exact)
    assert scores.summary == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100, "APs": 100, "APm": 100, "APl": None})
    assert scores.categories == pytest.approx({1: 100, 2: 100, 7: None})  # there is no sky to find

    # discs: one found at IoU .82, so at 7 of the 10 thresholds (.50 … .80; recall 1 of 2: 51 of 101 recall points); the
    # box in the crowd is no mistake. squares: a surer wrong box halves the precision of the right one
    partly = {
        "a": _detections(([0, 0, 10, 8.2], 0.9, 1), ([110, 10, 20, 20], 0.95, 1)),
        "b": _detections(([0, 0, 10, 10], 0.1, 2), ([90, 50, 10, 10], 0.9, 2)),
    }
    scores = box_ap(truth, partly)
    assert scores.categories[1] == pytest.approx(100 * 51 / 101 * 7 / 10)
    assert scores.categories[2] == pytest.approx(50)
    assert scores.summary["AP"] == pytest.approx((scores.categories[1] + 50) / 2)
    assert scores.summary["AP50"] == pytest.approx((100 * 51 / 101 + 50) / 2)

    nothing = box_ap(truth, {"a": _detections(), "b": _detections()})
    assert nothing.summary == {"AP": 0, "AP50": 0, "AP75": 0, "APs": 0, "APm": 0, "APl": None}
    assert box_ap(truth, {"b": exact["b"]}).categories == pytest.approx(
        {1: None, 2: 100, 7: None}
    )  # only the pictures asked for
    with pytest.raises(SeesrError, match=r"a: a detection has category 5, which .*instances\.json does not have"):
        box_ap(truth, {"a": _detections(([0, 0, 1, 1], 1, 5))})


def _segments(rows: list[str], categories: dict[int, int], crowd: tuple[int, ...] = ()) -> SegmentMap:
    """Each digit is a pixel's segment id."""
    return SegmentMap(np.array([[int(digit) for digit in row] for row in rows]), categories, frozenset(crowd))


def test_panoptic_quality_by_hand() -> None:
    truth = _segments(["1111220", "1111220", "3333444"], {1: 1, 2: 2, 3: 7, 4: 1}, crowd=(4,))
    same = PanopticQuality(CATEGORIES)
    same.add(truth, SegmentMap(truth.ids, truth.categories))
    assert same.result().summary == {"PQ": 100, "SQ": 100, "RQ": 100, "PQ_things": 100, "PQ_stuff": 100}

    # disc 1: 6 of its 8 pixels, IoU 6/8; square 2: exactly, a pixel of nothing does not count; sky 3: 2 of 4 pixels are
    # not more than half: missed and a false find; the disc in the crowd of discs is excused
    seen = _segments(["1110225", "1110220", "3300444"], {1: 1, 2: 2, 3: 7, 4: 1, 5: 2})
    one = PanopticQuality(CATEGORIES)
    one.add(truth, seen)
    result = one.result()
    assert result.categories == {1: 75, 2: 100, 7: 0}
    assert result.summary == pytest.approx(
        {"PQ": 175 / 3, "SQ": 175 / 3, "RQ": 200 / 3, "PQ_things": 87.5, "PQ_stuff": 0}
    )

    nothing = PanopticQuality(CATEGORIES)
    nothing.add(truth, _segments(["0000000"] * 3, {}))
    assert nothing.result().summary == {"PQ": 0, "SQ": 0, "RQ": 0, "PQ_things": 0, "PQ_stuff": 0}
    wrong_kind = PanopticQuality(CATEGORIES)
    wrong_kind.add(_segments(["11"], {1: 1}), _segments(["11"], {1: 2}))
    assert wrong_kind.result().categories == {1: 0, 2: 0, 7: None}


def test_segments_as_torchmetrics_counts_them() -> None:
    """On maps without crowds and unannotated pixels, where its rules are COCO's."""
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchmetrics.detection")
    rng = np.random.default_rng(0)
    ours = PanopticQuality(CATEGORIES)
    theirs = detection.PanopticQuality({1, 2}, {7}, return_sq_and_rq=True)
    for _ in range(4):
        maps = []
        base = rng.integers(1, 9, (6, 6))
        for changed in (0.0, 0.03):
            ids = np.kron(base, np.ones((5, 5), int))
            noise = rng.random(ids.shape) < changed
            ids[noise] = rng.integers(1, 9, noise.sum())
            categories = {i: (1, 2, 7)[i % 3] for i in range(1, 9)}
            ids[np.isin(ids, [i for i, category in categories.items() if category == 7])] = 2  # stuff is one segment
            maps.append(SegmentMap(ids, {i: category for i, category in categories.items() if category != 7 or i == 2}))
        maps[1] = SegmentMap(np.roll(maps[1].ids, 1, 0), maps[1].categories)
        ours.add(*maps)
        truth, seen = (
            torch.tensor(np.stack([category_map(one), np.where(one.ids == 2, 0, one.ids)], -1))[None] for one in maps
        )
        theirs.update(seen, truth)
    summary = ours.result().summary
    assert [summary[name] for name in ("PQ", "SQ", "RQ")] == pytest.approx((100 * theirs.compute()).tolist())
    assert 5 < summary["PQ"] < 95


def test_mean_iou_by_hand() -> None:
    truth = np.array([[1, 1, 1, 2], [2, 2, NOTHING, NOTHING]])
    seen = np.array([[1, 1, 2, 2], [NOTHING, 2, 7, 1]])
    scores = MeanIoU(CATEGORIES)
    scores.add(truth, seen)
    scores.add(truth, seen)
    assert scores.result().categories == pytest.approx({1: 100 * 2 / 3, 2: 50, 7: None})
    assert scores.result().summary["mIoU"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    assert MeanIoU(CATEGORIES).result().summary == {"mIoU": None}


def test_mean_iou_as_scikit_learn_computes_it() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth, seen = rng.choice([1, 2, 7], (2, 3, 20, 20))
    seen = np.where(rng.random(seen.shape) < 0.4, truth, seen)
    scores = MeanIoU(CATEGORIES)
    for one, other in zip(truth, seen):
        scores.add(one, other)
    expected = sklearn.jaccard_score(truth.ravel(), seen.ravel(), average="macro")
    assert scores.result().summary["mIoU"] == pytest.approx(100 * expected)


def test_tag_figures_by_hand() -> None:
    truth = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], bool)
    probabilities = np.array([[0.9, 0.2, 0.8, 0.1], [0.7, 0.1, 0.1, 0.1], [0.6, 0.3, 0.1, 0.1]])
    scores = score_tags(["cat", "dog", "hat", "sky"], truth, Sight(probabilities, probabilities > 0.5))
    assert scores.summary == pytest.approx(
        # right 2, found 4, true 4; cat: 2 of 3 found right, all of 2; dog: never found
        {"OP": 50, "OR": 50, "CP": 100 / 3, "CR": 50}
        # all pairs by probability: cat, hat, cat, cat, dog, dog, then ties
        | {"AP": 25 * (1 + 2 / 3 + 3 / 5 + 4 / 6), "mAP": 100 * (1 + 1) / 2}
    )
    rows = {row["tag"]: row for row in scores.tags}
    assert rows.keys() == {"cat", "dog", "hat"}
    assert (rows["dog"]["precision"], rows["dog"]["recall"], rows["hat"]["recall"]) == (None, 0, None)
    low, high = scores.intervals["OR"]
    assert low < 50 < high

    found = Sight(probabilities, probabilities > 0.15)  # all that is true, in every photo
    assert paired_intervals(truth, found, found) == {"OP": (0, 0), "OR": (0, 0)}
    low, high = paired_intervals(truth, found, Sight(probabilities, np.zeros((3, 4), bool)))["OR"]
    assert (low, high) == (100, 100)

    blind = score_tags(["cat", "dog", "hat", "sky"], truth, Sight(np.zeros((3, 4)), np.zeros((3, 4), bool)))
    assert [blind.summary[name] for name in ("OP", "OR", "CP", "CR")] == [0, 0, 0, 0]
    with pytest.raises(SeesrError, match="no tags to preserve"):
        score_tags(["cat"], np.zeros((2, 1), bool), Sight(np.zeros((2, 1)), np.zeros((2, 1), bool)))


def test_tag_figures_as_scikit_learn_computes_them() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth = rng.random((40, 12)) < np.linspace(0, 0.6, 12)  # the first tag is never true
    probabilities = (rng.random((40, 12)) + 0.4 * truth).round(1) / 1.4  # rounded: many ties
    seen = Sight(probabilities, probabilities > 0.5)
    has = truth.any(0)
    assert 0 < has.sum() < 12
    expected = {
        "OP": sklearn.precision_score(truth, seen.on, average="micro"),
        "OR": sklearn.recall_score(truth, seen.on, average="micro"),
        "AP": sklearn.average_precision_score(truth, probabilities, average="micro"),
        "CP": sklearn.precision_score(truth[:, has], seen.on[:, has], average="macro", zero_division=0),
        "CR": sklearn.recall_score(truth[:, has], seen.on[:, has], average="macro"),
        "mAP": sklearn.average_precision_score(truth[:, has], probabilities[:, has], average="macro"),
    }
    summary = score_tags([f"tag {k}" for k in range(12)], truth, seen).summary
    assert [summary[name] for name in FIGURES] == pytest.approx([100 * expected[name] for name in FIGURES])
