"""The paper's first training stage, DAPE, on a miniature tagger: it learns, goes on exactly, trains LoRA alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_cases import squares_photos, tensors, with_tagger
from taggers import save_small_ram

from conftest import Reference
from seesr import SeeSRPipeline
from seesr.errors import SeesrError
from seesr.loading import tagger_from_folder
from seesr.models.dape import plain_ram
from seesr.training.stages import dape


@pytest.fixture
def ram(tmp_path: Path) -> Path:
    """Folder of a plain tagger whose random weights are large enough for its output to depend on the picture."""
    return save_small_ram(tmp_path / "ram")


@pytest.fixture
def model(tiny: Reference, ram: Path, tmp_path: Path) -> Path:
    """The converted reference model with the small tagger in place of its own, which works at 384 pixels."""
    return with_tagger(tiny.model, ram, tmp_path / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return squares_photos(tmp_path / "photos")


@pytest.fixture
def dape_config(tmp_path: Path, photos: Path, ram: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        values = {"output": str(tmp_path / "run"), "model": str(ram), "photos": [str(photos)]}
        values |= {"validation_photos": [str(photos)], "size": 64, "steps": 2, "batch_size": 2}
        values |= {"learning_rate": 1e-2, "ema_decay": 0.0, "clip_norm": None}
        file = tmp_path / "stage.yaml"
        file.write_text(json.dumps(values | changes))
        return file

    return write


def test_dape_sees_in_degraded_photos_what_ram_sees_in_clean_ones(
    dape_config: Callable[..., Path], ram: Path, tmp_path: Path
) -> None:
    """60 steps on six photos: both distances to the teacher fall well below those of RAM on the same photos."""
    metrics = dape.train(dape_config(steps=60, batch_size=6, learning_rate=0.03, schedule="cosine"))
    assert metrics["representation"] < 0.75 * metrics["ram_representation"]
    assert metrics["logits"] < 0.5 * metrics["ram_logits"]
    before, after = tensors(ram), tensors(tmp_path / "run" / "model")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(name.endswith(("lora_A", "lora_B")) for name in after.keys() - before.keys())
    trained, picture = tagger_from_folder(tmp_path / "run" / "model"), torch.rand(1, 3, 64, 64)
    with torch.no_grad(), plain_ram(trained):
        seen = trained(trained.preprocess(picture))
    with torch.no_grad():
        assert torch.equal(seen.image_embeds, tagger_from_folder(ram)(trained.preprocess(picture)).image_embeds)


def test_dape_goes_on_exactly_and_keeps_the_rest_of_a_model_folder(
    dape_config: Callable[..., Path], model: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    dape.train(dape_config(model=str(model), output=str(whole), steps=4))
    for steps in (2, 4):
        dape.train(dape_config(model=str(model), output=str(broken), steps=steps))
    once, twice = tensors(whole / "model" / "tagger"), tensors(broken / "model" / "tagger")
    assert all(torch.equal(tensor, twice[name]) for name, tensor in once.items())
    pipeline = SeeSRPipeline.from_pretrained(str(whole / "model"))
    assert pipeline.tagger is not None
    assert pipeline.tagger.config.lora_rank == 8
    assert pipeline.unet is not None


def test_dape_learns_the_same_from_photos_that_live_on_the_device(
    dape_config: Callable[..., Path], tmp_path: Path
) -> None:
    for on_device in (False, True):
        dape.train(dape_config(on_device=on_device, output=str(tmp_path / str(on_device))))
    usual, there = (tensors(tmp_path / name / "model") for name in ("False", "True"))
    assert all(torch.equal(there[name], tensor) for name, tensor in usual.items())


def test_dape_with_one_term_trains_what_the_term_reaches(dape_config: Callable[..., Path], tmp_path: Path) -> None:
    for term, head_learns in (("representation", False), ("logits", True)):
        dape.train(dape_config(loss=term, output=str(tmp_path / term)))
        factors = {n: t for n, t in tensors(tmp_path / term / "model").items() if n.endswith("lora_B")}
        assert all(bool(t.any()) for name, t in factors.items() if not name.startswith("head."))
        assert all(bool(t.any()) == head_learns for name, t in factors.items() if name.startswith("head."))


def test_dape_with_checkpointed_gradients_learns_the_same(dape_config: Callable[..., Path], tmp_path: Path) -> None:
    for checkpointing in (False, True):
        dape.train(dape_config(gradient_checkpointing=checkpointing, output=str(tmp_path / str(checkpointing))))
    plain, saving = (tensors(tmp_path / name / "model") for name in ("False", "True"))
    assert all(torch.allclose(saving[name], tensor, atol=1e-6) for name, tensor in plain.items())


def test_dape_needs_a_tagger(dape_config: Callable[..., Path], photos: Path) -> None:
    with pytest.raises(SeesrError, match="holds no tagger"):
        dape.train(dape_config(model=str(photos)))
    with pytest.raises(SeesrError, match="size is 30"):
        dape.train(dape_config(size=30))
