"""The embedded model restores the example as it did when it was shipped: broken weights or a broken path show here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import DATA, ROOT, Outcome
from seesr import SeesrError, SeeSRPipeline

EXAMPLE = ROOT / "examples" / "cat.jpg"
CROP = (40, 20, 72, 52)  # an eye and fur around it
STORED = DATA / "mini-cat-crop.png"


def restored_crop() -> Image.Image:
    """The crop, 4x. What lies beyond it would change its border only."""
    return SeeSRPipeline.from_pretrained("mini")(Image.open(EXAMPLE).crop(CROP)).images[0]


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


def test_example_is_restored_as_shipped() -> None:
    stored, crop = Image.open(STORED).convert("RGB"), Image.open(EXAMPLE).crop(CROP)
    bicubic = crop.resize(stored.size, Image.Resampling.BICUBIC)
    assert difference(restored_crop(), stored) < 0.5 < 4 < difference(bicubic, stored)


def test_command_restores_and_says_what_it_cannot(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.open(EXAMPLE).crop((0, 0, 20, 16)).save(tmp_path / "small.png")
    outcome = seesr("upscale", tmp_path / "small.png", "-o", tmp_path / "out.png", "--scale", 2.5)
    assert outcome.code == 0, outcome.err
    assert "small.png" in outcome.err
    assert Image.open(tmp_path / "out.png").size == (50, 40)
    refused = seesr("upscale", tmp_path / "small.png", "-o", tmp_path / "no.png", "--profile", "paper")
    assert refused.code == 2
    assert "no diffusion part" in refused.err
    assert "no tagger" in seesr("tags", tmp_path / "small.png").err
    with pytest.raises(SeesrError, match="no diffusion part"):
        SeeSRPipeline.from_pretrained("mini")(Image.open(EXAMPLE), num_inference_steps=5)
