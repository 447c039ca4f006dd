"""Figures that papers printed for the field's three test sets, as data: what a measured table can be held against.

They stand in `published.csv`, a row per method and test set with the paper and table it was taken from; a method that
was run anew by others has two. All were made on StableSR's 512 x 512 crops with the metrics' variants that
`seesr.metrics.registry` names.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from seesr.metrics.registry import METRICS

REPRODUCED_WITHIN = {
    "PSNR": 0.1,
    "SSIM": 0.004,
    "LPIPS": 0.004,
    "DISTS": 0.004,
    "FID": 2.0,
    "NIQE": 0.15,
    "MUSIQ": 0.5,
    "MANIQA": 0.005,
    "CLIPIQA": 0.005,
}
"""How far a mean may lie from the published one to count as reproduced here."""


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
        plain = _plain(name)
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


@dataclass(frozen=True)
class Reproduction:
    """A measured mean held against the published one of the same method, of several the nearest.

    difference: measured - published.
    """

    published: float
    difference: float
    holds: bool


def published_as(method: str) -> str | None:
    """The published method that a measured one is, told by its name; None for any other.

    `realesrgan-x4plus`, `folder:results/osediff`, `spandrel:BSRGAN.pth`; `sd2`, or a SeeSR model whose folder's name
    says so, with the paper's profile and nothing changed (`sd2-seesr:paper`).
    """
    kind, colon, what = method.partition(":")
    outside = kind in ("folder", "spandrel")
    if colon and not outside and what != "paper":
        return None
    if kind == "sd2":
        return "SeeSR"
    last = _plain(Path(what if outside else kind).name)
    if "anime" in last or "turbo" in last:
        return None
    names = {_plain(row.method): row.method for row in published_rows()}
    found = [name for name in names if name in last]
    return names[max(found, key=len)] if found else None


def reproductions(testset: Path, pictures: int, method: str, means: Mapping[str, float]) -> dict[str, Reproduction]:
    """By metric: how `means`, measured on so many pictures of a test set, compare with those published for the method.

    {} where nothing was published, or not on as many pictures.
    """
    name = published_as(method)
    rows = [row for row in published_for(testset) if row.method == name and row.pictures == pictures]
    found = {}
    for metric in METRICS:
        printed = [row.scores[metric] for row in rows if metric in row.scores]
        if printed and metric in means:
            nearest = min(printed, key=lambda value: abs(means[metric] - value))
            difference = means[metric] - nearest
            found[metric] = Reproduction(nearest, difference, abs(difference) <= REPRODUCED_WITHIN[metric])
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
