"""Tags that a restoration keeps: those a tagger sees in the original against those it sees in the restored picture.

No annotations are needed. The tagger is plain RAM, without DAPE, because DAPE is made to see past degradation and would
hide what a restoration has lost.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from seesr.evaluation.baselines.interface import Method
from seesr.evaluation.results import Testset
from seesr.evaluation.run import EvaluationProgress
from seesr.evaluation.semantics.rows import HR, Row, make_rows, read_cut, sizes_of
from seesr.evaluation.semantics.sight import look
from seesr.metrics.tags import Sight, TagScores, score_tags
from seesr.models.tagging import PhotoTagger
from seesr.system.atomic import csv_text, write_text
from seesr.system.machine import machine, versions


@dataclass(frozen=True)
class Preserved:
    """One row of the table: how a method's tags agree with the originals'."""

    name: str
    settings: dict[str, Any]
    scores: TagScores


def preserved_tags(
    testset: Testset,
    methods: Sequence[Method],
    tagger: PhotoTagger,
    output: Path,
    progress: EvaluationProgress = lambda *_: None,
) -> list[Preserved]:
    """Rows LR and the methods, against the tags of HR.

    Raises:
        SeesrError: the originals have no tags, or a restoration fails.
    """
    rows = make_rows(testset, methods, output, progress)
    sizes = sizes_of(rows[0])

    def seen(row: Row) -> Sight:
        def images() -> Iterator[Image.Image]:
            for done, (name, file) in enumerate(row.files.items()):
                progress(f"tags of {row.name}", done, len(row.files))
                yield read_cut(file, sizes[name])
            progress(f"tags of {row.name}", len(row.files), len(row.files))

        return look(tagger, images(), dape=False)

    truth = seen(rows[0]).on
    names = tagger.config.tags
    return [Preserved(row.name, row.settings, score_tags(names, truth, seen(row))) for row in rows if row.name != HR]


def write_preserved(rows: Sequence[Preserved], testset: Testset, tagger: str, device: str, output: Path) -> None:
    """`tags.csv` (a line a row), `tags_each.csv` (a line a row and tag) and `tags.json`."""
    write_text(output / "tags.csv", csv_text([{"row": row.name} | flat(row.scores) for row in rows]))
    each = [{"row": row.name} | line for row in rows for line in row.scores.tags]
    write_text(output / "tags_each.csv", csv_text(each))
    content = {
        "testset": {"folder": str(testset.folder), "pictures": len(testset.pairs), "scale": testset.scale},
        "tagger": tagger,
        "truth": "tags of plain RAM on the originals",
        "rows": {
            row.name: {
                "settings": row.settings,
                "summary": row.scores.summary,
                "intervals": row.scores.intervals,
                "tags": row.scores.tags,
            }
            for row in rows
        },
        "versions": versions(),
        "machine": machine(device),
    }
    write_text(output / "tags.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def flat(scores: TagScores) -> dict[str, float]:
    """Figures and bounds of intervals as columns."""
    bounds = {
        f"{name}_{side}": bound
        for name, interval in scores.intervals.items()
        for side, bound in zip(("low", "high"), interval)
    }
    return scores.summary | bounds
