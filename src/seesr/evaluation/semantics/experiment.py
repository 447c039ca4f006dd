"""The DAPE experiment (SeeSR, section 3.2): how well tags survive degradation, with RAM and with DAPE.

Every photo is degraded at several strengths by one drawn plan; RAM and DAPE tag the results, and the truth is what RAM
sees in the clean photo (as the paper's teacher does), or the photo's own labels. The two taggers look at the same
pixels, so their curves differ by DAPE alone.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from seesr.data.samples import TrainingPhoto, load_photos
from seesr.degradation import apply, draw, preset
from seesr.degradation.strength import soften
from seesr.errors import SeesrError
from seesr.evaluation.run import SCALE, EvaluationProgress
from seesr.evaluation.semantics.preservation import flat
from seesr.evaluation.semantics.sight import look
from seesr.metrics.tags import TagScores, paired_intervals, score_tags
from seesr.models.lora import lora_layers
from seesr.models.tagging import PhotoTagger
from seesr.photos.pictures import to_pil, to_tensor
from seesr.system.atomic import csv_text, write_text
from seesr.system.machine import machine, versions

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
RAM, DAPE = "RAM", "DAPE"


@dataclass(frozen=True)
class ExperimentSettings:
    """Settings of an experiment.

    degradation: preset that strength 1 stands for; without the sharpening that some presets give their target.
    size: photos are stretched whole to this square before they are degraded, as in stage 1; a multiple of 4.
    truth: `ram`, or `labels`: the photos' own, from the JSON file beside each (`label` or a list `tags`).
    """

    degradation: str = "seesr"
    strengths: tuple[float, ...] = STRENGTHS
    size: int = 512
    seed: int = 0
    truth: Literal["ram", "labels"] = "ram"
    limit: int | None = None

    def __post_init__(self) -> None:
        preset(self.degradation)
        if not self.strengths or not all(0 <= strength <= 1 for strength in self.strengths):
            raise SeesrError(f"strengths {self.strengths} are not from 0 to 1; give some, as in 0,0.5,1")
        if self.size < SCALE or self.size % SCALE:
            raise SeesrError(f"size is {self.size}; give a multiple of {SCALE}")
        if self.truth not in ("ram", "labels"):
            raise SeesrError(f"truth cannot be {self.truth!r}; use ram or labels")
        if self.limit is not None and self.limit < 1:
            raise SeesrError(f"`limit` cannot be {self.limit}; it must be 1 or more")


@dataclass(frozen=True)
class Point:
    """What one tagger (`RAM` or `DAPE`) found at one strength.

    over_ram: of DAPE, 95 % intervals of how much its OP and OR lie above RAM's, photo by photo.
    """

    strength: float
    tagger: str
    scores: TagScores
    over_ram: dict[str, tuple[float, float]] | None = None


def dape_experiment(
    photos: Sequence[TrainingPhoto],
    tagger: PhotoTagger,
    settings: ExperimentSettings,
    progress: EvaluationProgress = lambda *_: None,
) -> list[Point]:
    """Points in the order of the strengths, RAM before DAPE.

    Raises:
        SeesrError: the tagger has no LoRA factors; a photo's labels are asked for and it has none that the tagger
            knows; no tag is true of any photo.
    """
    if not lora_layers(tagger):
        raise SeesrError("this tagger has no LoRA factors, so RAM and DAPE are the same; give one that DAPE is part of")
    names = tagger.config.tags
    photos = photos[: settings.limit]

    def clean() -> Iterator[Image.Image]:
        for photo in photos:
            yield Image.fromarray(photo.pixels).resize((settings.size, settings.size), Image.Resampling.BICUBIC)

    if settings.truth == "ram":
        progress("tags of the clean photos", 0, 1)
        truth = look(tagger, clean(), dape=False).on
    else:
        truth = _labels(photos, names)
    points = []
    for done, strength in enumerate(settings.strengths):
        progress("tags of degraded photos", done, len(settings.strengths))
        degraded = [_degrade(image, settings, strength, number) for number, image in enumerate(clean())]
        ram, dape = look(tagger, degraded, dape=False), look(tagger, degraded, dape=True)
        points.append(Point(strength, RAM, score_tags(names, truth, ram)))
        points.append(Point(strength, DAPE, score_tags(names, truth, dape), paired_intervals(truth, dape, ram)))
    progress("tags of degraded photos", len(settings.strengths), len(settings.strengths))
    return points


def read_photos(sources: Sequence[str]) -> Sequence[TrainingPhoto]:
    """Photos of folders and WebDataset shards, with the JSON beside each; see `seesr.data.samples.load_photos`."""
    return load_photos(list(sources), 1)


def write_experiment(
    points: Sequence[Point],
    settings: ExperimentSettings,
    sources: Sequence[str],
    tagger: str,
    device: str,
    output: Path,
) -> None:
    """`dape.csv` (a line a strength and tagger), `dape_each.csv` (and tag) and `dape.json`."""

    def key(point: Point) -> dict[str, Any]:
        return {"strength": point.strength, "tagger": point.tagger}

    write_text(output / "dape.csv", csv_text([key(point) | flat(point.scores) for point in points]))
    each = [key(point) | line for point in points for line in point.scores.tags]
    write_text(output / "dape_each.csv", csv_text(each))
    content = {
        "photos": list(sources),
        "tagger": tagger,
        "settings": settings.__dict__,
        "points": [
            key(point)
            | {"summary": point.scores.summary, "intervals": point.scores.intervals, "over_ram": point.over_ram}
            for point in points
        ],
        "versions": versions(),
        "machine": machine(device),
    }
    write_text(output / "dape.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def _degrade(image: Image.Image, settings: ExperimentSettings, strength: float, number: int) -> Image.Image:
    """The LR picture, a quarter the size, as the tagger gets it in a restoration; photo `number` has its own draws."""
    seed = int(np.random.default_rng((settings.seed, number)).integers(2**62))
    plan = draw(preset(settings.degradation), seed, settings.size, settings.size, SCALE)
    plan = soften(replace(plan, usm=False), strength, settings.size, settings.size)
    with torch.inference_mode():
        return to_pil(apply(plan, to_tensor(image)[0])[0][None])


def _labels(photos: Sequence[TrainingPhoto], names: Sequence[str]) -> np.ndarray:
    """(n, tags) of bool: the labels of each photo that are tags, in any case and with spaces or underscores."""
    places = {_plain(name): k for k, name in enumerate(names)}
    truth = np.zeros((len(photos), len(names)), dtype=bool)
    for row, photo in zip(truth, photos):
        labels = photo.info.get("tags", [photo.info["label"]] if "label" in photo.info else None)
        if labels is None:
            raise SeesrError(f"{photo.name}: has no label or tags in a JSON file beside it; use the truth 'ram'")
        row[[places[_plain(label)] for label in labels if _plain(label) in places]] = True
    return truth


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()
