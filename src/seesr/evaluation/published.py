"""Figures that papers printed for the field's three test sets, as data: what a measured table can be held against.

They stand in `published.csv`, a row per method and test set with the paper and table it was taken from; all were made
on StableSR's 512 x 512 crops with the metrics' variants that `seesr.evaluation.metrics` names.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from seesr.evaluation.metrics import METRICS


@dataclass(frozen=True)
class PublishedRow:
    """One method on one test set.

    testset: "RealSR", "DRealSR" or "DIV2K-Val". pictures: how many it has.
    steps: of a diffusion model, else None.
    scores: by metric's name. source: paper and table.
    """

    testset: str
    pictures: int
    method: str
    steps: int | None
    scores: dict[str, float]
    source: str


def published_for(testset: Path) -> list[PublishedRow]:
    """The published rows of the test set in a folder, told by its name or its parent's; [] for any other.

    StableSR's own folder names (`RealSRVal_crop128`, `DrealSRVal_crop128`, `DIV2K_V2_val`) are known as well as plain
    ones. RealSRSet, which has no references, is another set than RealSR.
    """
    for name in (testset.resolve().name, testset.resolve().parent.name):
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        for mark, title in (("drealsr", "DRealSR"), ("realsrset", ""), ("realsr", "RealSR"), ("div2k", "DIV2K-Val")):
            if mark in plain:
                return [row for row in published_rows() if row.testset == title]
    return []


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Every row of `published.csv`, in the file's order."""
    text = (files("seesr.evaluation") / "published.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedRow(
            testset=row["testset"],
            pictures=int(row["pictures"]),
            method=row["method"],
            steps=int(row["steps"]) if row["steps"] else None,
            scores={name: float(row[name]) for name in METRICS if row[name]},
            source=row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    )
