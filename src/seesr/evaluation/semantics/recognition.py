"""Objects and segments recognised in restored pictures (SeeSR, section 4: semantic preservation on COCO).

A detector and a segmenter look at the originals, the degraded pictures and every method's; COCO's annotations say what
they should have seen. Higher figures mean that more of the meaning came through. All figures are percentages.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Method
from seesr.evaluation.results import Testset
from seesr.evaluation.run import EvaluationProgress, folder_name
from seesr.evaluation.semantics.boxes import NAMES, Detections, box_ap, load_pycocotools
from seesr.evaluation.semantics.coco import Category, Instances, Panoptic, SegmentMap, check_pictures, to_colors
from seesr.evaluation.semantics.networks import Detector, Segmenter
from seesr.evaluation.semantics.rows import HR, LR, Row, make_rows, read_cut, sizes_of
from seesr.evaluation.semantics.segments import MeanIoU, PanopticQuality, category_map
from seesr.system.atomic import csv_text, write_text, write_whole
from seesr.system.machine import machine, versions

SEGMENT_NAMES = ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff", "mIoU")


@dataclass(frozen=True)
class Truth:
    """Annotations and the networks they are held against; at least one pair of the two."""

    instances: Instances | None = None
    detector: Detector | None = None
    panoptic: Panoptic | None = None
    segmenter: Segmenter | None = None

    def __post_init__(self) -> None:
        for truth, network, names in (
            (self.instances, self.detector, "`instances` and `detector`"),
            (self.panoptic, self.segmenter, "`panoptic` and `segmenter`"),
        ):
            if (truth is None) != (network is None):
                raise SeesrError(f"{names} go together; give both or neither")
        if self.instances is None and self.panoptic is None:
            raise SeesrError("nothing to recognise; give `instances` with `detector`, or `panoptic` with `segmenter`")


@dataclass(frozen=True)
class Recognised:
    """One row of the table. summary: figure → percentage, None where it is not defined for this ground truth.

    categories: (category, what) → percentage; what is `AP`, `PQ` or `IoU`.
    """

    name: str
    settings: dict[str, Any]
    summary: dict[str, float | None]
    categories: dict[tuple[str, str], float | None]


def files_of_recognition(
    names: Sequence[str], methods: Sequence[str], output: Path, boxes: bool, segments: bool
) -> list[Path]:
    """The files that `recognise` writes besides the rows' pictures. names: of the test pictures; methods: by name."""
    folders = [folder_name(row) for row in (HR, LR, *methods)]
    files = [output / "detections" / f"{folder}.json" for folder in folders if boxes]
    for folder in folders if segments else ():
        files += [output / "panoptic" / f"{folder}.json"]
        files += [output / "panoptic" / folder / f"{name}.png" for name in names]
    return files


def recognise(
    testset: Testset,
    methods: Sequence[Method],
    truth: Truth,
    output: Path,
    progress: EvaluationProgress = lambda *_: None,
) -> list[Recognised]:
    """Rows HR, LR and the methods; what was recognised is written below `output` in COCO's results formats.

    Raises:
        SeesrError: a picture without annotations or of another size than they say; a restoration that fails; no
            pycocotools.
    """
    if truth.instances:
        load_pycocotools()  # tells that it is missing before any work
    originals = {pair.name: pair.reference for pair in testset.pairs if pair.reference is not None}
    sizes = sizes_of(Row("", originals, {}))
    for part in (truth.instances, truth.panoptic):
        if part is not None:
            check_pictures(part, sizes, originals)
    return [_look(row, sizes, truth, output, progress) for row in make_rows(testset, methods, output, progress)]


def _look(
    row: Row, sizes: dict[str, tuple[int, int]], truth: Truth, output: Path, progress: EvaluationProgress
) -> Recognised:
    summary: dict[str, float | None] = {}
    categories: dict[tuple[str, str], float | None] = {}
    what = f"recognising in {row.name}"
    found: dict[str, Detections] = {}
    quality = PanopticQuality(truth.panoptic.categories) if truth.panoptic else None
    overlap = MeanIoU(truth.panoptic.categories) if truth.panoptic else None
    seen: list[dict[str, Any]] = []
    for done, (name, file) in enumerate(row.files.items()):
        progress(what, done, len(row.files))
        image = read_cut(file, sizes[name])
        if truth.detector:
            found[name] = truth.detector.detect(image)
        if truth.panoptic and truth.segmenter and quality and overlap:
            expected = truth.panoptic.read(name)
            segments, categories_seen = truth.segmenter.segment(image)
            overlap.add(category_map(expected), categories_seen)
            if segments is not None:
                quality.add(expected, segments)
                target = output / "panoptic" / folder_name(row.name) / f"{name}.png"
                seen.append(_write_segments(segments, target, truth.panoptic.pictures[name].id))
    progress(what, len(row.files), len(row.files))

    if truth.instances:
        results = [line for name, one in found.items() for line in one.results(truth.instances.pictures[name].id)]
        write_text(output / "detections" / f"{folder_name(row.name)}.json", json.dumps(results))
        boxes = box_ap(truth.instances, found)
        summary |= {name: boxes.summary[name] for name in NAMES}
        categories |= _by_name(truth.instances.categories, "AP", boxes.categories)
    if truth.panoptic and truth.segmenter and quality and overlap:
        if truth.segmenter.panoptic:
            write_text(
                output / "panoptic" / f"{folder_name(row.name)}.json",
                json.dumps({"annotations": seen}),
            )
            panoptic = quality.result()
            summary |= panoptic.summary
            categories |= _by_name(truth.panoptic.categories, "PQ", panoptic.categories)
        semantic = overlap.result()
        summary |= semantic.summary
        categories |= _by_name(truth.panoptic.categories, "IoU", semantic.categories)
    return Recognised(row.name, row.settings, summary, categories)


def write_recognised(rows: Sequence[Recognised], testset: Testset, truth: Truth, device: str, output: Path) -> None:
    """`semantics.csv` (a line a row), `categories.csv` (a line a row, category and figure) and `semantics.json`."""
    lines = [{"row": row.name} | row.summary for row in rows]
    write_text(output / "semantics.csv", csv_text(lines))
    by_category = [
        {"row": row.name, "category": category, "figure": what, "value": value}
        for row in rows
        for (category, what), value in row.categories.items()
    ]
    write_text(output / "categories.csv", csv_text(by_category))
    content: dict[str, Any] = {
        "testset": {"folder": str(testset.folder), "pictures": len(testset.pairs), "scale": testset.scale},
        "rows": {row.name: {"settings": row.settings, "summary": row.summary} for row in rows},
        "protocol": {
            "AP": "pycocotools, boxes, 100 detections a picture",
            "PQ": "COCO's rules for crowds and unannotated pixels",
            "mIoU": "over the annotated categories, unannotated pixels left out",
        },
        "versions": versions(),
        "machine": machine(device),
    }
    for part, network in ((truth.instances, truth.detector), (truth.panoptic, truth.segmenter)):
        if part and network:
            name = type(network).__name__.lower()
            content[name] = {"name": network.name, "annotations": str(part.file), "unknown": network.unknown}
    write_text(output / "semantics.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def _by_name(
    categories: Sequence[Category], what: str, values: dict[int, float | None]
) -> dict[tuple[str, str], float | None]:
    return {(category.name, what): values.get(category.id) for category in categories}


def _write_segments(segments: SegmentMap, target: Path, image_id: int) -> dict[str, Any]:
    """Write a PNG file as COCO wants it; returns its entry for the JSON file."""
    picture = Image.fromarray(to_colors(segments.ids))
    write_whole(target, lambda file: picture.save(file, "PNG"))
    there = set(np.unique(segments.ids).tolist())
    infos = [{"id": i, "category_id": category} for i, category in segments.categories.items() if i in there]
    return {"image_id": image_id, "file_name": target.name, "segments_info": infos}
