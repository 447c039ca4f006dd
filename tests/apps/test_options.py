"""The settings as options: as typed, in the messages, and what a run says of those without effect."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import Outcome, Reference
from seesr.apps.options import in_options
from seesr.evaluation.methods import apply_settings
from seesr.restoration.settings import SPECS


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (12, 8), "teal").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_every_setting_is_an_option(seesr: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = seesr("upscale", "--help").out
    assert not [spec.option for spec in SPECS.values() if f"--{spec.option} " not in shown]
    assert [shown.index(f"─ {panel} ─") for panel in ("Size", "Semantics", "Sampling", "Tiles", "Files")] == sorted(
        shown.index(f"─ {panel} ─") for panel in ("Size", "Semantics", "Sampling", "Tiles", "Files")
    )


def test_the_papers_run_as_typed(seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path) -> None:
    words = "--profile paper --scheduler ddpm --steps 2 --guidance 5.5 --start lr --color-fix AdaIN --dtype float32"
    model, prompts = ("--model", tiny.model, "--process-size", 64), tmp_path / "out.png.json"
    outcome = seesr(
        "upscale",
        tiny.files / "input.png",
        "-o",
        tmp_path / "out.png",
        *words.split(),
        *model,
        "--guidance-interval",
        "0.1,0.9",
        "--conditioning-scale",
        0.5,
        "--save-prompts",
        "--seed",
        7,
    )
    assert outcome.code == 0, outcome.err
    assert "no effect" not in outcome.err
    record = json.loads(prompts.read_text())
    assert record["seed"] == 7
    assert (
        record["settings"].items()
        >= {
            "guidance_interval": [0.1, 0.9],
            "conditioning_scale": 0.5,
            "num_inference_steps": 2,
            "color_fix": "adain",
        }.items()
    )
    assert record["prompt"].startswith(", ".join(tag["name"] for tag in record["tags"]))


def test_lr_clean_and_a_late_start(seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path) -> None:
    base = ("--model", tiny.model, "--profile", "paper", "--process-size", 64, "--steps", 2)
    pictures = []
    for more in ((), ("--start", "LR-clean"), ("--start-timestep", 400)):
        assert seesr("upscale", tiny.files / "input.png", "-o", tmp_path / "o.png", *base, *more).code == 0
        pictures.append(Image.open(tmp_path / "o.png").tobytes())
    assert len(set(pictures)) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scheduler", "no-such-thing"), "no scheduler 'no-such-thing'; there are ddpm"),
        (("--steps", "-1"), "--steps cannot be -1; give a whole number from 0 to 1000"),
        (("--color-fix", "sepia"), "--color-fix cannot be 'sepia'; give adain, wavelet or none"),
        (("--latent-tile", 8, "--latent-overlap", 8), "less than --latent-tile, which is 8"),
        (("--guidance-interval", "1"), "--guidance-interval cannot be '1'; give two numbers"),
        (("--dtype", "int3"), "no dtype 'int3'; use auto, fp32"),
        (("--profile", "best"), "no profile 'best'"),
        (("--memory", "much"), "--memory cannot be 'much'"),
        (("--bits", "9"), "--bits cannot be 9; give 8 or 16"),
    ],
)
def test_errors_name_the_options(seesr: Callable[..., Outcome], photo: Path, options: Any, words: str) -> None:
    """Also of settings that `fast` makes no use of."""
    outcome = seesr("upscale", photo, "-o", photo.with_name("out.png"), *options)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert words in outcome.err
    assert not photo.with_name("out.png").exists()


def test_options_without_effect_are_told(seesr: Callable[..., Outcome], photo: Path) -> None:
    options = ("--tags", "cat,dog", "--seed", 5, "--exclude-tags", "kat", "--fidelity", 0.3)
    outcome = seesr("upscale", photo, "-o", photo.with_name("out.png"), *options, "--dtype", "fp32")
    assert outcome.code == 0, outcome.err
    notes = [line for line in outcome.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2, outcome.err
    assert all(option in notes[0] for option in ("--tags", "--seed", "--fidelity", "--exclude-tags", "no effect"))
    assert notes[1] == "note: --exclude-tags: no tag is called 'kat'; did you mean 'cat'?"


def test_only_whole_names_in_backquotes_are_translated() -> None:
    assert (
        in_options("`scale` of scale.png, `scales`: `num_inference_steps`") == "--scale of scale.png, `scales`: --steps"
    )


def test_settings_of_all_seesr_methods() -> None:
    named = apply_settings(["bicubic", "mini", "mini:diffusion,steps=2"], ["steps=4", "tags=cat,tree"])
    assert named == {
        "bicubic": "bicubic",
        "mini": "mini:steps=4,tags=cat+tree",
        "mini:diffusion,steps=2": "mini:diffusion,steps=2,tags=cat+tree",
    }
