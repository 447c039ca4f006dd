"""An evaluation written down: a table of every figure, and a JSON file with all it takes to judge or repeat them."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seesr.evaluation.benchmark import RESAMPLES, SEED
from seesr.evaluation.machine import machine, versions
from seesr.evaluation.metrics import METRICS
from seesr.evaluation.run import Results, mebibytes


def write_csv(results: Results, path: Path) -> None:
    """One line per method and picture: figures in full precision, seconds, peak memory in MiB."""
    write_text(path, csv_text(results.rows()))


def write_json(results: Results, path: Path) -> None:
    """Everything: summaries, differences, protocol, versions, seeds, hardware, costs, rows."""
    content = {
        "testset": {
            "folder": str(results.testset.folder),
            "pictures": len(results.testset.pairs),
            "references": results.testset.has_references,
            "scale": results.testset.scale,
        },
        "methods": {
            method.name: {
                "summary": {name: asdict(method.evaluation.summary[name]) for name in results.metrics},
                "seconds_per_image": method.mean_cost().seconds,
                "peak_mib": mebibytes(method.mean_cost()),
                "restored_on": method.hardware(),
                "settings": method.settings,
                "published": {name: asdict(found) for name, found in results.reproductions(method).items()},
            }
            for method in results.methods
        },
        "against": results.against,
        "differences": {
            metric: {name: asdict(difference) for name, difference in found.items()}
            for metric, found in results.differences.items()
        },
        "unavailable": results.unavailable,
        "protocol": {name: METRICS[name].origin for name in results.metrics},
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "level": 0.95},
        "versions": versions(),
        "machine": machine(results.device),
        "images": results.rows(),
    }
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same keys as CSV with a head; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
