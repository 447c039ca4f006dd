"""Scores of a folder of restored pictures: one row per picture, means with bootstrap intervals, paired comparisons.

Scores are kept in a file beside the run, each under a hash of what it depends on: the bytes of both pictures, the
metric's code, the versions of its libraries, the device. So an interrupted or repeated evaluation computes only what is
new. A metric that cannot run is listed with the reason; it never gets a number.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seesr.data.pairs import Pair, pair_images
from seesr.errors import SeesrError
from seesr.evaluation.provenance import code_hash
from seesr.metrics.intervals import Difference, Mean, bootstrap_interval, bootstrap_mean, sign_flip_p
from seesr.metrics.registry import METRICS, Metric, available, get_metric
from seesr.photos.photo import read_photo
from seesr.photos.pictures import to_tensor


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_folder` found.

    rows: per picture `image` (name without suffix) and one figure per metric, in the pictures' order.
    summary: per metric, the whole-set ones included.
    unavailable: metric -> why it could not be computed.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Mean]
    unavailable: dict[str, str]


def evaluate_folder(
    restored: Path,
    reference: Path | None = None,
    metrics: Sequence[str] = tuple(METRICS),
    *,
    device: str = "cpu",
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Score every picture in `restored`, against the one of the same name in `reference` where a metric needs it.

    Args:
        restored, reference: folders; pictures pair by name without suffix, and each must have its partner.
        metrics: names out of `METRICS`, in any case.
        device: `cpu` or `cuda`.
        cache: JSON-lines file of scores, made if missing; later runs read it and add to it.
        progress: called with (pictures done, pictures in all).

    Raises:
        SeesrError: an unknown metric; no pictures; a picture without partner, of another size than its reference,
            damaged, or too small for a metric; a damaged cache.
    """
    chosen = list({get_metric(name).name: get_metric(name) for name in metrics}.values())
    pairs = pair_images(restored, reference)
    reasons = {metric.name: _missing(metric, reference, device) for metric in chosen}
    unavailable = {name: reason for name, reason in reasons.items() if reason}
    usable = [metric for metric in chosen if metric.name not in unavailable]
    per_image = [metric for metric in usable if not metric.whole_set]

    known = _read_cache(cache)
    rows: list[dict[str, Any]] = []
    for done, pair in enumerate(pairs):
        progress(done, len(pairs))
        keys = {metric.name: _key(pair, metric, device) for metric in per_image}
        todo = [metric for metric in per_image if keys[metric.name] not in known]
        if todo:
            new = _score(pair, todo, device)
            _append_cache(cache, [{"image": pair.name, "metric": m, "key": keys[m], "score": new[m]} for m in new])
            known |= {keys[name]: score for name, score in new.items()}
        rows.append({"image": pair.name} | {name: known[key] for name, key in keys.items()})
    progress(len(pairs), len(pairs))

    summary = {}
    for metric in usable:
        if metric.whole_set:
            figure = float(metric.load(device)(str(reference), str(restored)))
            if math.isfinite(figure):
                summary[metric.name] = Mean(figure, None, None)
            else:
                unavailable[metric.name] = f"came out as {figure}; the set may be too small for it"
        else:
            summary[metric.name] = bootstrap_mean([row[metric.name] for row in rows])
    return Evaluation(rows, summary, unavailable)


def paired_difference(ours: Evaluation, theirs: Evaluation, metric: str) -> Difference:
    """How much `ours` lies above `theirs` in a metric, picture by picture.

    Raises:
        SeesrError: the two were not made on pictures of the same names, or lack the metric.
    """
    if metric not in ours.rows[0] or metric not in theirs.rows[0]:
        raise SeesrError(f"{metric} has no figure per picture for one of the two methods; evaluate both with it")
    first, second = ({row["image"]: row[metric] for row in side.rows} for side in (ours, theirs))
    if first.keys() != second.keys():
        name = min(first.keys() ^ second.keys())
        raise SeesrError(f"{name} was scored for only one of the two methods; compare them on the same pictures")
    differences = np.array([first[name] - second[name] for name in first], dtype=np.float64)
    low, high = bootstrap_interval(differences)
    return Difference(float(differences.mean()), low, high, sign_flip_p(differences))


def _missing(metric: Metric, reference: Path | None, device: str) -> str | None:
    if metric.needs_reference and reference is None:
        return "needs reference pictures, and no folder of them was given"
    return available(metric.name, device)


def _score(pair: Pair, metrics: list[Metric], device: str) -> dict[str, float]:
    """Figures of one picture."""
    image = to_tensor(read_photo(pair.restored).rgb).to(device)  # (1, 3, H, W)
    inputs = [image]
    if pair.reference is not None:
        inputs.append(to_tensor(read_photo(pair.reference).rgb).to(device))
        if inputs[1].shape != image.shape:
            sizes = [f"{picture.shape[3]}x{picture.shape[2]}" for picture in inputs]
            raise SeesrError(
                f"{pair.restored} is {sizes[0]}, its reference {pair.reference} is {sizes[1]}; make them equal"
            )
    scores = {}
    for metric in metrics:
        try:
            with torch.inference_mode():
                score = float(metric.load(device)(*inputs[: 1 + metric.needs_reference]))
        except RuntimeError:  # torch's own, where a picture is smaller than a window
            size = f"{image.shape[3]}x{image.shape[2]}"
            raise SeesrError(
                f"{pair.restored}: {size} pixels are too few for {metric.name}; leave the picture or the metric out"
            ) from None
        except SeesrError as error:
            raise SeesrError(f"{pair.restored}: {metric.name} failed: {error}") from None
        if not math.isfinite(score):
            raise SeesrError(f"{pair.restored}: {metric.name} is {score}; leave the picture or the metric out")
        scores[metric.name] = score
    return scores


def _key(pair: Pair, metric: Metric, device: str) -> str:
    """Hash of what a figure depends on: both files' bytes, the code that reads and scores them, the kind of device."""
    digest = hashlib.sha256(f"{metric.name} {device.partition(':')[0]}".encode())
    for module in (metric.module, read_photo.__module__, to_tensor.__module__):
        digest.update(code_hash(module).encode())
    for path in (pair.restored, pair.reference if metric.needs_reference else None):
        digest.update(hashlib.sha256(path.read_bytes() if path else b"").digest())
    return digest.hexdigest()[:32]


def _read_cache(cache: Path | None) -> dict[str, float]:
    """Scores by their keys; those of earlier releases, kept in another form, are left out."""
    known: dict[str, float] = {}
    if cache is not None and cache.is_file():
        for line in cache.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # blank, or cut short when an earlier run was interrupted
            if not isinstance(entry, dict) or "key" not in entry:
                raise SeesrError(f"{cache}: not a file of scores; name another one or delete it")
            if "score" in entry:
                known[entry["key"]] = float(entry["score"])
    return known


def _append_cache(cache: Path | None, entries: list[dict[str, Any]]) -> None:
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with cache.open("a") as file:
            for entry in entries:
                file.write("\n" + json.dumps(entry))  # a new line first: the last one may be cut short
