"""The embedded model restores the example as it did when it was shipped: broken weights or a broken path show here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import DATA, ROOT, Outcome
from seesr import SeeSRPipeline

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
    restored = restored_crop()
    apart = np.abs(np.asarray(restored, dtype=int) - np.asarray(stored, dtype=int))
    assert apart.max() <= 1  # in float32: what another processor rounds to the other side of a level
    assert apart.mean() < 0.02
    bicubic = crop.resize(stored.size, Image.Resampling.BICUBIC)
    assert difference(bicubic, stored) > 4


def test_diffusion_adds_texture_and_no_colour() -> None:
    pipeline = SeeSRPipeline.from_pretrained("mini")
    crop = Image.open(EXAMPLE).crop(CROP)
    fast, textured = (pipeline(crop, profile=profile).images[0] for profile in ("fast", "diffusion"))
    assert 1.9 < difference(fast, textured) < 2.3  # 2.08 with the weights that are shipped
    shift = np.asarray(textured, dtype=float).mean((0, 1)) - np.asarray(fast, dtype=float).mean((0, 1))
    assert np.abs(shift).max() < 0.8  # 0.54


def test_tags_name_the_cat(seesr: Callable[..., Outcome]) -> None:
    outcome = seesr("tags", EXAMPLE)
    assert outcome.code == 0, outcome.err
    assert "cat 0." in outcome.out


def test_package_is_small() -> None:
    files = [file for file in (ROOT / "src" / "seesr" / "assets").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 64e6


def test_command_restores_with_every_profile(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.open(EXAMPLE).crop((0, 0, 20, 16)).save(tmp_path / "small.png")
    for profile in ("fast", "diffusion"):
        out = tmp_path / f"{profile}.png"
        outcome = seesr("upscale", tmp_path / "small.png", "-o", out, "--scale", 2.5, "--profile", profile)
        assert outcome.code == 0, outcome.err
        assert "small.png" in outcome.err
        assert Image.open(out).size == (50, 40)
