"""A small study: pictures of four methods of known strengths, raters who vote by them, a server for the votes."""

import json
import math
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seesr.study.design import GOOD, Study
from seesr.study.make import make_study
from seesr.study.serve import StudyServer
from seesr.study.votes import Vote

STRENGTHS = {"seesr": 1.1, "stablesr": 0.3, "bsr<b>&$_$": -0.3, "bicubic": -1.1}


def make_pictures(folder: Path) -> Path:
    """16 photos with references (lr/, hr/) and 16 without (real/), 4x4, and four methods' pictures of all, 16x16."""
    rng = np.random.default_rng(0)
    kinds = {"lr": ("syn", 4), "hr": ("syn", 16), "real": ("photo", 4)}
    kinds |= {f"{method}/{name}": (name, 16) for method in STRENGTHS for name in ("syn", "photo")}
    for place, (name, side) in kinds.items():
        (folder / place).mkdir(parents=True)
        for i in range(16):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{name}{i:02d}.png")
    return folder


def methods(pictures: Path) -> list[tuple[str, Path]]:
    return [(name, pictures / name / kind) for name in STRENGTHS for kind in ("syn", "photo")]


def options(pictures: Path) -> list[object]:
    return [part for name, folder in methods(pictures) for part in ("--method", f"{name}={folder}")]


def small_study(pictures: Path, folder: Path) -> Path:
    """Four photos with references, all methods."""
    make_study(folder, methods(pictures), lr=pictures / "lr", hr=pictures / "hr", photos=4, checks=1)
    return folder


def answer(study: Study, rng: random.Random, blind: bool = False) -> list[Vote]:
    """One rater's votes by Luce's model; a blind one chooses anything, in attention checks too."""
    votes = []
    for part in study.parts:
        rounds = {question.round for question in part.questions if not question.is_check}
        first = rng.randrange(len(rounds))
        asked = [question for question in part.questions if not question.is_check]
        asked.sort(key=lambda question: ((question.round or 0) - first) % len(rounds))
        for question in asked[: part.take] + [question for question in part.questions if question.is_check]:
            shown = rng.sample(sorted(question.candidates), len(question.candidates))
            made_by = [question.candidates[picture] for picture in shown]
            if question.is_check and not blind:
                choice = shown[made_by.index(GOOD)]
            else:
                choice = rng.choices(shown, [1.0 if blind else math.exp(STRENGTHS[name]) for name in made_by])[0]
            votes.append(Vote(question.id, choice, tuple(shown), 5.0, 1.0, 1))
    return votes


@contextmanager
def serving(folder: Path) -> Iterator[StudyServer]:
    server = StudyServer(folder, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def post(url: str, name: str, content: Any, kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{url}api/{name}", json.dumps(content).encode(), {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def sendable(study: Study, rater: str, vote: Vote) -> dict[str, Any]:
    return {"study": study.id, "rater": rater, "vote": vote.__dict__}
