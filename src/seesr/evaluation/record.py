"""An evaluation written down: a table of every figure, and a JSON file with all it takes to judge or repeat them."""

import json
from dataclasses import asdict
from pathlib import Path

from seesr.evaluation.results import Results, mebibytes
from seesr.metrics.intervals import RESAMPLES, SEED
from seesr.metrics.registry import METRICS
from seesr.system.atomic import csv_text, write_text
from seesr.system.machine import machine, versions


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
