"""Several samples of a photo: all of them as results of their own, or the best."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import ROOT, Outcome
from seesr.apps.jobs import samples

STEPS = ("--profile", "diffusion", "--steps", 1, "--fidelity", 0)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.open(ROOT / "examples" / "cat.jpg").crop((40, 20, 88, 44)).save(path)
    return path


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


def test_all_samples_are_results_of_their_own(seesr: Callable[..., Outcome], photo: Path, tmp_path: Path) -> None:
    """Each as a run with its seed would write it; a second run does only what is missing."""
    out = tmp_path / "out.png"
    outcome = seesr("upscale", photo, "-o", out, *STEPS, "--samples", 3, "--seed", 5)
    assert outcome.code == 0, outcome.err
    made = [tmp_path / f"out-{number}.png" for number in (1, 2, 3)]
    assert not out.exists()
    assert len({pixels(path) for path in made}) == 3
    assert seesr("upscale", photo, "-o", tmp_path / "alone.png", *STEPS, "--seed", 6).code == 0
    assert pixels(tmp_path / "alone.png") == pixels(made[1])
    made[2].unlink()
    again = seesr("upscale", photo, "-o", out, *STEPS, "--samples", 3, "--seed", 5)
    assert again.code == 0, again.err
    assert again.err.count("done already") == 2
    assert made[2].exists()
    assert seesr("upscale", photo, "-o", tmp_path / "folder", *STEPS, "--samples", 2).code == 0
    assert {path.name for path in (tmp_path / "folder").glob("*.png")} == {"photo-1.png", "photo-2.png"}


def test_the_best_is_kept(
    seesr: Callable[..., Outcome], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([3.0, 2.0, 4.0])
    monkeypatch.setattr(samples, "_niqe", lambda: lambda x: torch.tensor([next(scores)]))
    out = tmp_path / "out"
    few: tuple[Any, ...] = ("--keep", "best", "--seed", 5, "--save-prompts")
    outcome = seesr("upscale", tmp_path, "-o", out, *STEPS, "--samples", 3, *few)
    assert outcome.code == 0, outcome.err
    assert "--seed 6 is the best by NIQE (5: 3.00, 6: 2.00, 7: 4.00)" in " ".join(outcome.err.split())
    assert json.loads((out / "photo.png.json").read_text())["seed"] == 6
    assert seesr("upscale", photo, "-o", tmp_path / "alone.png", *STEPS, "--seed", 6).code == 0
    assert pixels(out / "photo.png") == pixels(tmp_path / "alone.png")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--samples", 2), "for several photos choose --keep best"),
        (("--samples", 2, "--keep", "worst"), "--keep cannot be 'worst'; give all or best"),
        (("--samples", 2, "--keep", "best", "--steps", 0), "all alike without denoising steps"),
        (("--samples", 2, "--keep", "best", "--scale", 2), "needs results of at least 192 x 96 pixels"),
    ],
)
def test_what_cannot_be_is_refused(
    seesr: Callable[..., Outcome], photo: Path, tmp_path: Path, options: tuple[Any, ...], words: str
) -> None:
    Image.open(photo).save(tmp_path / "second.png")
    outcome = seesr("upscale", tmp_path, "-o", tmp_path / "out", *STEPS, *options)
    assert outcome.code == 2
    assert words in outcome.err
    assert not list(tmp_path.glob("out/*.png"))
