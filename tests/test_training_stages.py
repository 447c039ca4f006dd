"""The paper's two training stages on miniature models: they learn, they train what they should and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conftest import Reference
from seesr import SeeSRPipeline
from seesr.checkpoints.files import find_weights, read_state_dict
from seesr.errors import SeesrError
from seesr.models.dape import plain_ram
from seesr.models.tagger import Tagger
from seesr.training import dape


@pytest.fixture
def ram(tmp_path: Path) -> Path:
    """Folder of a plain tagger whose random weights are large enough for its output to depend on the picture."""
    tagger = Tagger(
        tags=[f"tag{i}" for i in range(12)],
        thresholds=[0.5] * 12,
        image_size=64,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 8],
        window_size=2,
        label_dim=16,
        head_dim=32,
        head_feed_forward_dim=64,
    )
    for parameter in tagger.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
    tagger.save_pretrained(tmp_path / "ram")
    return tmp_path / "ram"


@pytest.fixture
def model(tiny: Reference, ram: Path, tmp_path: Path) -> Path:
    """The converted reference model with the small tagger in place of its own, which works at 384 pixels."""
    folder = shutil.copytree(tiny.model, tmp_path / "model")
    shutil.rmtree(folder / "tagger")
    shutil.copytree(ram, folder / "tagger")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photos of 8 x 8 coloured squares."""
    (tmp_path / "photos").mkdir()
    for number in range(6):
        squares = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(squares.repeat(8, 0).repeat(8, 1)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


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


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return read_state_dict(find_weights(folder))


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
    trained, picture = dape.load_tagger(tmp_path / "run" / "model"), torch.rand(1, 3, 64, 64)
    with torch.no_grad(), plain_ram(trained):
        seen = trained(trained.preprocess(picture))
    with torch.no_grad():
        assert torch.equal(seen.image_embeds, dape.load_tagger(ram)(trained.preprocess(picture)).image_embeds)


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


def test_dape_with_one_term_trains_what_the_term_reaches(dape_config: Callable[..., Path], tmp_path: Path) -> None:
    for term, head_learns in (("representation", False), ("logits", True)):
        dape.train(dape_config(loss=term, output=str(tmp_path / term)))
        factors = {n: t for n, t in tensors(tmp_path / term / "model").items() if n.endswith("lora_B")}
        assert all(bool(t.any()) for name, t in factors.items() if not name.startswith("head."))
        assert all(bool(t.any()) == head_learns for name, t in factors.items() if name.startswith("head."))


def test_dape_needs_a_tagger(dape_config: Callable[..., Path], photos: Path) -> None:
    with pytest.raises(SeesrError, match="holds no tagger"):
        dape.train(dape_config(model=str(photos)))
    with pytest.raises(SeesrError, match="size is 30"):
        dape.train(dape_config(size=30))
