"""A model with two enlargers: the one that is asked for works, in every part that asks which."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Outcome, Reference
from seesr import CompactEnlarger, SeesrError, SeeSRPipeline
from seesr.apps.estimates import estimate
from seesr.apps.jobs import dry_run
from seesr.apps.jobs.folder import plan_jobs
from seesr.apps.jobs.restore import RestoreOptions
from seesr.loading import LightRestorer, load_restorer
from seesr.models.enlarger import Enlarger
from seesr.restoration.memory import working_bytes
from seesr.restoration.settings import Settings

CPU = torch.device("cpu")
INDEX = {"default_profile": "fast", "enlarger": ["seesr", "Enlarger"], "quick": ["seesr", "CompactEnlarger"]}


def with_two(folder: Path) -> Path:
    """A model of two enlargers: fine makes black, quick repeats the photo's pixels."""
    torch.manual_seed(0)
    fine, quick = Enlarger(num_blocks=1, channels=64, growth=32), CompactEnlarger(num_convs=1, channels=8)
    for network in (fine, quick):
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
    fine.save_pretrained(folder / "enlarger")
    quick.save_pretrained(folder / "quick")
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    return folder


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(40, 200, (24, 32, 3), dtype=np.uint8))


def is_black(picture: Image.Image) -> bool:
    return picture.getextrema() == ((0, 0),) * 3


def test_the_engine_asked_for_works(tmp_path: Path, photo: Image.Image) -> None:
    restorer = load_restorer(str(with_two(tmp_path)), torch.float32, CPU)
    assert is_black(restorer(photo).images[0])
    quick = restorer(photo, engine="quick").images[0]
    repeated = np.asarray(photo).repeat(4, 0).repeat(4, 1)
    assert np.abs(np.asarray(quick, dtype=int) - repeated).max() <= 1
    assert quick.size == (128, 96)


def test_only_the_engine_asked_for_is_loaded(tmp_path: Path, photo: Image.Image) -> None:
    name = str(with_two(tmp_path))
    restorer = load_restorer(name, torch.float32, CPU, engine="quick")
    assert restorer.enlarger is None
    assert not is_black(restorer(photo, engine="quick").images[0])
    assert load_restorer(name, torch.float32, CPU, engine="fine").quick is None


def test_both_engines_are_saved_with_the_whole_model(tiny: Reference, tmp_path: Path) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    pipeline.register_modules(quick=CompactEnlarger(num_convs=1, channels=8).eval())
    pipeline.save_pretrained(tmp_path)
    again = SeeSRPipeline.from_pretrained(str(tmp_path))
    assert isinstance(again.quick, CompactEnlarger)
    photo = Image.open(tiny.files / "input.png").convert("RGB")
    settings = {"engine": "quick", "num_inference_steps": 0, "process_size": 64}
    ours, theirs = (each(photo, **settings).images[0] for each in (pipeline, again))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_model_without_it_says_so(tiny: Reference, seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    photo = tiny.files / "input.png"
    outcome = seesr("upscale", photo, "-o", tmp_path / "out.png", "--model", tiny.model, "--engine", "quick")
    assert (outcome.code, outcome.err) == (2, "seesr: this model has no quick enlarger; set --engine to fine\n")
    assert not (tmp_path / "out.png").exists()
    restorer = LightRestorer({"default_profile": "fast"}, enlarger=Enlarger(num_blocks=1, channels=8, growth=4).eval())
    with pytest.raises(SeesrError, match="no quick enlarger"):
        restorer(Image.new("RGB", (16, 16)), engine="quick")


def test_a_network_of_ones_own_takes_the_place_of_fine_only(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "photo.png")
    (tmp_path / "own.pth").write_bytes(b"")
    model = with_two(tmp_path / "model")
    options = ("--enlarger", tmp_path / "own.pth", "--engine", "quick", "--model", model)
    outcome = seesr("upscale", tmp_path / "photo.png", "-o", tmp_path / "out.png", *options)
    assert outcome.code == 2
    assert "--enlarger takes the place of the engine fine" in outcome.err


def test_memory_and_time_are_those_of_the_engine(tmp_path: Path) -> None:
    with_two(tmp_path)
    networks = load_restorer(str(tmp_path), torch.float32, CPU)
    needs = [
        working_bytes(networks, CPU, (200, 150), 4, Settings(engine=each, num_inference_steps=0)) for each in ENGINES
    ]
    assert needs[0] > 1.2 * needs[1]
    fine, quick = (estimate(tmp_path, (200, 150), 4, torch.float32, given={"engine": each}) for each in ENGINES)
    assert fine.operations > 20 * quick.operations


ENGINES = ("fine", "quick")


def test_a_long_job_is_told_of_the_other_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_two(tmp_path / "model")
    Image.new("RGB", (1200, 900)).save(tmp_path / "large.jpg")
    Image.new("RGB", (200, 150)).save(tmp_path / "small.jpg")

    def span(needs: object, device: object, dtype: object) -> tuple[float, float, bool]:
        seconds = needs.operations / 1e10  # type: ignore[attr-defined]
        return seconds, 2 * seconds, False

    monkeypatch.setattr("seesr.apps.estimates.seconds_span", span)

    def note(name: str, **settings: object) -> str:
        jobs = plan_jobs([tmp_path / name], tmp_path / f"out-{name}")
        options = RestoreOptions(max_pixels=10**7, scale=4, settings=settings)
        return dry_run.long_job_note(jobs, options, model, torch.float32, CPU)

    assert note("small.jpg") == ""
    assert note("large.jpg", engine="quick") == ""
    many = tmp_path / "many"  # small ones, of which only some are looked at
    many.mkdir()
    for number in range(40):
        shutil.copy(tmp_path / "small.jpg", many / f"{number}.jpg")
    assert "--engine quick takes about" in note("many")
    told = note("large.jpg")
    assert told.startswith("this takes about")
    assert "; --engine quick takes about" in told
    (model / "model_index.json").write_text(json.dumps(INDEX | {"quick": [None, None]}))
    assert note("large.jpg") == ""
