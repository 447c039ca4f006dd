"""Precision and recall of tags, as multi-label recognition measures them (Wang et al. 2016, arXiv 1604.04573).

Overall figures count all pairs of a photo and a tag together, so that frequent tags weigh more; per-class figures are
means over the tags that the truth has at least once. All are percentages:

    OP = right / found      CP = mean over tags of right / found, 0 where the tag was never found
    OR = right / true       CR = mean over tags of right / true
    AP: average precision of all pairs ranked by probability; mAP: mean over tags of that of each tag

OP, OR, CP and CR depend on the tagger's thresholds, AP and mAP do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesr.errors import SeesrError
from seesr.metrics.intervals import RESAMPLES, SEED

FIGURES = ("OP", "OR", "AP", "CP", "CR", "mAP")


@dataclass(frozen=True)
class Sight:
    """What a tagger sees in n photos: (n, tags) probabilities in [0, 1], and whether each tag is on."""

    probabilities: np.ndarray
    on: np.ndarray


@dataclass(frozen=True)
class TagScores:
    """summary: by `FIGURES`. intervals: 95 % bootstrap intervals over photos of OP and OR. tags: a row for every tag
    that is true or found somewhere: its name, how often `true`, `found` and `right`, precision, recall and AP."""

    summary: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    tags: list[dict[str, Any]]


def score_tags(names: Sequence[str], truth: np.ndarray, seen: Sight) -> TagScores:
    """Compare what was seen with `truth`, (n, tags) of bool.

    Raises:
        SeesrError: not one tag is true, so that there is nothing to preserve.
    """
    if not truth.any():
        raise SeesrError(
            "there are no tags to preserve: none is true of any photo; take other photos or another tagger"
        )
    right, found, true = (seen.on & truth).sum(0), seen.on.sum(0), truth.sum(0)  # (tags,) each
    precision = right / np.maximum(found, 1)
    recall = right / np.maximum(true, 1)
    aps = np.array(
        [average_precision(truth[:, k], seen.probabilities[:, k]) if true[k] else 0 for k in range(len(names))]
    )
    has = true > 0
    figures = (
        right.sum() / max(found.sum(), 1),
        right.sum() / true.sum(),
        average_precision(truth.ravel(), seen.probabilities.ravel()),
        precision[has].mean(),
        recall[has].mean(),
        aps[has].mean(),
    )
    rows = [
        {
            "tag": names[k],
            "true": int(true[k]),
            "found": int(found[k]),
            "right": int(right[k]),
            "precision": 100 * float(precision[k]) if found[k] else None,
            "recall": 100 * float(recall[k]) if true[k] else None,
            "AP": 100 * float(aps[k]) if true[k] else None,
        }
        for k in np.flatnonzero(true + found).tolist()
    ]
    summary = {name: 100 * float(figure) for name, figure in zip(FIGURES, figures)}
    return TagScores(summary, _intervals(truth, seen.on), rows)


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Sum over distinct scores, from the highest, of precision x the recall that is won there; in [0, 1].

    Args:
        truth: (n,) of bool, at least one True. scores: (n,); equal ones count as one step.
    """
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # last place of each distinct score
    right = right[last]
    return float((np.diff(right, prepend=0) * right / (last + 1)).sum() / right[-1])


def paired_intervals(truth: np.ndarray, ours: Sight, theirs: Sight) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of how much OP and OR of `ours` lie above those of `theirs` in the same photos."""
    first, second = _resampled(truth, ours.on), _resampled(truth, theirs.on)
    return {name: _middle(first[name] - second[name]) for name in first}


def _intervals(truth: np.ndarray, on: np.ndarray) -> dict[str, tuple[float, float]]:
    return {name: _middle(values) for name, values in _resampled(truth, on).items()}


def _resampled(truth: np.ndarray, on: np.ndarray) -> dict[str, np.ndarray]:
    """OP and OR, (RESAMPLES,), of photos drawn with replacement; the same draws whatever was seen in them."""
    counts = np.stack([(on & truth).sum(1), on.sum(1), truth.sum(1)], 1)  # (n, 3): right, found, true
    rng = np.random.default_rng(SEED)
    sums = [counts[rng.integers(len(counts), size=(100, len(counts)))].sum(1) for _ in range(RESAMPLES // 100)]
    right, found, true = np.concatenate(sums).T  # (RESAMPLES,) each
    return {"OP": 100 * right / np.maximum(found, 1), "OR": 100 * right / np.maximum(true, 1)}


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
