"""An evaluation written down: a table of every figure, and a JSON file with all it takes to judge or repeat them."""

import csv
import io
import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import seesr
from seesr.evaluation.benchmark import RESAMPLES, SEED
from seesr.evaluation.metrics import METRICS
from seesr.evaluation.run import Results, mebibytes


def write_csv(results: Results, path: Path) -> None:
    """One line per method and picture: figures in full precision, seconds, peak memory in MiB."""
    rows = results.rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


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
                "settings": method.settings,
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


def versions() -> dict[str, str]:
    """Of this package and of those that can change a figure; what is not installed is left out."""
    found = {"seesr": seesr.__version__}
    for name in ("torch", "diffusers", "transformers", "numpy", "pillow", "scipy", "pyiqa"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str) -> dict[str, Any]:
    """What the times were taken on."""
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
