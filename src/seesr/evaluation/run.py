"""An evaluation from a test set to figures: restore with every method, score, compare.

    lr/ ─ methods → OUT/restored/METHOD/*.png ─┐
    hr/ ───────────────────────────────────────┴ metrics → Results (record.py and report.py write them down)

What was restored or scored before is not done again as long as picture, method and package are the same.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seesr.data.pairs import Pair, pair_images
from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Case, Method
from seesr.evaluation.benchmark import Evaluation, evaluate_folder, paired_difference
from seesr.evaluation.provenance import code_hash
from seesr.evaluation.results import Cost, MethodResult, Results, Testset
from seesr.metrics.intervals import Difference
from seesr.metrics.registry import get_metric
from seesr.photos.files import write_photo
from seesr.photos.photo import read_photo
from seesr.system.machine import hardware

SCALE = 4
"""Enlargement where there is no reference to tell it: that of all the field's test sets."""

SIDES = (("lr", "hr"), ("test_LR", "test_HR"), ("lq", "gt"))
"""Names of the subfolders with the low-resolution pictures and the references: ours, and those of StableSR's sets."""

EvaluationProgress = Callable[[str, int, int], None]
"""Called with what is being done, the pictures done, and the pictures in all."""


# ---------------------------------------------------------------------------------------------------------- test set


def find_pairs(folder: Path, limit: int | None = None) -> list[Pair]:
    """The pictures of a test set, by name; none is read yet.

    Args:
        folder, limit: as of `read_testset`.

    Raises:
        SeesrError: no pictures, or one without partner.
    """
    if limit is not None and limit < 1:
        raise SeesrError(f"`limit` cannot be {limit}; it must be 1 or more")
    return pair_images(*_sides(folder))[:limit]


def read_testset(folder: Path, limit: int | None = None) -> Testset:
    """The test set in `folder`: two of the subfolders `SIDES`, that of low resolution alone, or just pictures.

    Every picture is read once, so that a bad one is found before hours of work, and each reference must be larger than
    its low-resolution picture by the same whole number.

    Args:
        limit: the first so many by name.

    Raises:
        SeesrError: no pictures, a damaged one, one without partner, or sizes that do not fit.
    """
    pairs = find_pairs(folder, limit)
    scales = {}
    for pair in pairs:
        width, height = read_photo(pair.restored).rgb.size
        if pair.reference is None:
            continue
        size = read_photo(pair.reference).rgb.size
        scale = size[0] // width
        if scale < 1 or size != (scale * width, scale * height):
            raise SeesrError(
                f"{pair.reference} is {size[0]}x{size[1]}, no whole multiple of the {width}x{height} of {pair.restored}"
            )
        scales[pair.reference] = scale
        if scale != scales[next(iter(scales))]:
            first = next(iter(scales))
            raise SeesrError(f"{pair.reference} enlarges {scale} times, {first} {scales[first]} times; separate them")
    return Testset(folder, pairs, next(iter(scales.values()), SCALE))


def _sides(folder: Path) -> tuple[Path, Path | None]:
    """Folders of the low-resolution pictures and of the references, if there are any."""
    for low, high in SIDES:
        if (folder / low).is_dir():
            return folder / low, folder / high if (folder / high).is_dir() else None
        if (folder / high).is_dir():
            raise SeesrError(f"{folder}: has {high}/ but no {low}/ with the pictures to restore; add it")
    return folder, None


# -------------------------------------------------------------------------------------------------------------- run


def run_evaluation(
    testset: Testset,
    methods: Sequence[Method],
    metrics: Sequence[str],
    output: Path,
    *,
    against: str | None = None,
    device: str = "cpu",
    progress: EvaluationProgress = lambda what, done, total: None,
) -> Results:
    """Restore what is missing below `output`, score everything, compare.

    Args:
        metrics: names out of `METRICS`, in any case.
        against: the method the others are compared with, by name.
        device: of the metrics, `cpu` or `cuda`.

    Raises:
        SeesrError: an unknown metric or `against`; a restoration that fails or has the wrong size; no metric at all
            that can be computed.
    """
    for metric in metrics:
        get_metric(metric)
    if against is not None and against not in [method.name for method in methods]:
        raise SeesrError(f"`against` cannot be {against!r}: none of the methods is called so; add it with `methods`")
    restored = [
        restore_testset(testset, method, output / "restored" / folder_name(method.name), progress) for method in methods
    ]
    results = [
        MethodResult(
            method.name,
            method.settings,
            files,
            costs,
            _score(testset, files, metrics, output, device, partial(progress, f"scoring {method.name}")),
        )
        for method, (files, costs) in zip(methods, restored)
    ]
    base = next((result.evaluation for result in results if result.name == against), None)
    differences: dict[str, dict[str, Difference]] = {}
    if base is not None:
        per_image = [name for name in base.summary if name in base.rows[0]]
        differences = {
            metric: {
                result.name: paired_difference(result.evaluation, base, metric)
                for result in results
                if result.evaluation is not base
            }
            for metric in per_image
        }
    found = Results(testset, results, device, against, differences)
    if not found.metrics:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.unavailable.items())
        raise SeesrError(f"none of the metrics can be computed ({reasons}); the pictures are in {output}")
    return found


def folder_name(method: str) -> str:
    """Name of the folder for a method's pictures: its own where that can be one, else shortened, with a hash."""
    plain = re.sub(r"[^\w.=,+-]+", "-", method)[-60:].strip("-.")
    return plain if plain == method else f"{plain}-{hashlib.sha256(method.encode()).hexdigest()[:6]}"


def restore_testset(
    testset: Testset, method: Method, folder: Path, progress: EvaluationProgress
) -> tuple[dict[str, Path], dict[str, Cost]]:
    """Restore what is missing in `folder`; returns files and costs by picture's name.

    A line of `restored.jsonl` says what a file came from, under its hash: the picture, the method's settings and
    weights (`Method.identity`), its code and libraries.
    """
    log = folder / "restored.jsonl"
    done = _read_log(log)
    files, costs = {}, {}
    for count, pair in enumerate(testset.pairs):
        progress(f"restoring with {method.name}", count, len(testset.pairs))
        target = folder / f"{pair.name}.png"
        source = hashlib.sha256(pair.restored.read_bytes())
        source.update(f"{method.identity} {code_hash(type(method).__module__)} {testset.scale}".encode())
        entry = done.get(pair.name)
        if entry is None or (entry.get("source"), entry.get("file")) != (source.hexdigest(), _hash_of(target)):
            image = read_photo(pair.restored).rgb
            result = method.restore([Case(pair.restored, image)], testset.scale)[0]
            expected = (image.width * testset.scale, image.height * testset.scale)
            if result.image.size != expected:
                sizes = [f"{width}x{height}" for width, height in (result.image.size, expected)]
                raise SeesrError(f"{method.name} made {sizes[0]} of {pair.restored}; it should be {sizes[1]}")
            write_photo(result.image, target)
            entry = {"image": pair.name, "source": source.hexdigest(), "file": _hash_of(target)}
            entry |= {"seconds": result.seconds, "peak_bytes": result.peak_bytes, "hardware": hardware()}
            with log.open("a") as file:
                file.write("\n" + json.dumps(entry))  # a new line first: the last one may be cut short
        files[pair.name] = target
        costs[pair.name] = Cost(entry["seconds"], entry["peak_bytes"], entry.get("hardware"))
    progress(f"restoring with {method.name}", len(testset.pairs), len(testset.pairs))
    return files, costs


def _hash_of(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _read_log(log: Path) -> dict[str, dict[str, Any]]:
    entries = {}
    for line in log.read_text().splitlines() if log.is_file() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # blank, or cut short when an earlier run was killed
        entries[entry["image"]] = entry
    return entries


def _score(
    testset: Testset,
    files: dict[str, Path],
    metrics: Sequence[str],
    output: Path,
    device: str,
    progress: Callable[[int, int], None],
) -> Evaluation:
    """Scores of these files and no others of their folders: metrics of whole sets are given folders of links."""
    with tempfile.TemporaryDirectory() as name:
        stage = Path(name)
        references = {pair.name: pair.reference for pair in testset.pairs if pair.reference is not None}
        places = {}
        for side, targets in (("restored", files), ("reference", references)):
            (stage / side).mkdir()
            for image, target in targets.items():
                (stage / side / f"{image}{target.suffix}").symlink_to(target.resolve())
                places[str(stage / side)] = str(target.parent)
        reference = stage / "reference" if testset.has_references else None
        try:
            return evaluate_folder(
                stage / "restored", reference, metrics, device=device, cache=output / "scores.jsonl", progress=progress
            )
        except SeesrError as error:
            text = str(error)
            for link, place in places.items():
                text = text.replace(link, place)
            raise SeesrError(text) from None
