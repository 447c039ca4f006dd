"""Banks of degraded crops and drawn crops: alignment, determinism, and a training that reads them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from seesr.data.samples import DegradationMix
from seesr.errors import SeesrError
from seesr.metrics.texture import local_deviation
from seesr.models.compact_enlarger import CompactEnlarger
from seesr.models.tiled_enlarger import SCALE
from seesr.models.two_ends import TwoEnds
from seesr.training.bank import SHARD, SIDE, Bank
from seesr.training.config import load_config
from seesr.training.drawings import with_drawings
from seesr.training.losses import LossWeights, pixel_terms
from seesr.training.make_bank import make_bank
from seesr.training.stages import enlarger
from seesr.training.stages.enlarger import EnlargerConfig


def numbered_bank(folder: Path) -> None:
    """One shard whose samples tell row and column: `hr` is `lr` with every pixel four times as wide and high."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    lr = torch.stack([y, x, y + x]).byte().repeat(SHARD, 1, 1, 1)
    hr = lr.repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3).contiguous()
    save_file({"lr": lr, "hr": hr, "taught": 255 - hr}, folder / "00000.safetensors")


def test_windows_of_a_bank_stay_in_register(tmp_path: Path) -> None:
    numbered_bank(tmp_path)
    bank = Bank(tmp_path, crop=40, seed=3)
    corners = set()
    for number in range(60):
        sample = bank[number]
        assert sample["lr"].shape == (3, 10, 10)
        assert torch.equal(sample["hr"][:, ::SCALE, ::SCALE], sample["lr"])
        assert torch.equal(sample["taught"], 255 - sample["hr"])
        corners.add((*sample["lr"][:2, 0, 0].tolist(), int(sample["lr"][0, 1, 0]) - int(sample["lr"][0, 0, 0])))
    assert len(corners) > 50  # many places and turns
    again = Bank(tmp_path, crop=40, seed=3)
    assert all(torch.equal(again[n]["hr"], bank[n]["hr"]) for n in (0, 63, 64, 1000))
    with pytest.raises(SeesrError, match="at most 256"):
        Bank(tmp_path, crop=260, seed=0)
    with pytest.raises(SeesrError, match="no shards"):
        Bank(tmp_path / "nothing", crop=40, seed=0)
    (tmp_path / "00001.safetensors").write_bytes(b"half a file")
    with pytest.raises(SeesrError, match="make it again"):
        Bank(tmp_path, crop=40, seed=0)


@pytest.fixture
def config(tmp_path: Path) -> EnlargerConfig:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(2):
        pixels = np.kron(rng.integers(0, 256, (20, 20, 3)), np.ones((26, 26, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    CompactEnlarger(1, channels=4).save_pretrained(tmp_path / "start")
    settings = {"start": str(tmp_path / "start"), "photos": [str(tmp_path / "photos")], "crop": 32, "drawings": 0.3}
    settings |= {"validation_photos": [str(tmp_path / "photos")], "degradation": {"bicubic": 1.0}, "batch_size": 2}
    settings |= {"steps": 2, "learning_rate": 1e-3, "output": str(tmp_path / "run"), "threads": 1}
    settings |= {"discriminator": {"width": 4, "crop": 32}}
    settings |= {"bank": str(tmp_path / "bank")}
    settings |= {"loss": {"dists": 0, "features": 0, "adversarial": 0, "taught": 1.0, "flat": 0.5}}
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    return load_config(EnlargerConfig, tmp_path / "config.yaml", [])


def test_a_bank_is_made_goes_on_and_is_trained_from(
    config: EnlargerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tmp_path / "bank"
    make_bank(config, 1, bank, tmp_path / "start")
    (shard,) = bank.iterdir()  # whole, and nothing else
    first = load_file(shard)
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "lr": (SHARD, 3, SIDE, SIDE),
        "hr": (SHARD, 3, SCALE * SIDE, SCALE * SIDE),
        "taught": (SHARD, 3, SCALE * SIDE, SCALE * SIDE),
    }
    stamp = shard.stat().st_mtime_ns
    make_bank(config, SHARD + 1, bank, tmp_path / "start", half=2)
    assert sorted(file.name for file in bank.iterdir()) == ["00000.safetensors", "00001.safetensors"]
    assert shard.stat().st_mtime_ns == stamp
    assert not torch.equal(load_file(bank / "00001.safetensors")["lr"], first["lr"])

    class NoPerception(torch.nn.Module):  # whose weights come from the network
        pass

    monkeypatch.setattr(enlarger, "PerceptualLoss", NoPerception)
    monkeypatch.setattr(enlarger.EnlargerStage, "validate", lambda stage, final: ({}, {}))
    enlarger.train(tmp_path / "config.yaml")
    trained = CompactEnlarger.from_pretrained(tmp_path / "run" / "model")
    start = CompactEnlarger.from_pretrained(tmp_path / "start")
    assert not torch.equal(trained.body[0].weight, start.body[0].weight)


def test_a_teacher_paints_the_targets(config: EnlargerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = CompactEnlarger.from_pretrained(tmp_path / "start")
    calm = CompactEnlarger.from_pretrained(tmp_path / "start")
    with torch.no_grad():
        calm.body[0].weight.mul_(0.5)
    network.ends = TwoEnds.between(network, calm)
    network.save_pretrained(tmp_path / "teacher")
    monkeypatch.setattr(enlarger, "PerceptualLoss", torch.nn.Identity)
    hr = torch.randint(90, 160, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()

    def distance(**changes: Any) -> float:
        stage = enlarger.EnlargerStage(replace(config, bank=None, drawings=0.0, loss=LossWeights(dists=0), **changes))
        stage.config.loss.features = stage.config.loss.adversarial = 0
        return stage.training_step({"hr": hr, "seed": torch.arange(2)}, 0)["l1"].item()

    teacher = str(tmp_path / "teacher")
    assert distance(teacher=teacher, teacher_detail=1.0) == 0  # the start's own picture
    assert distance(teacher=teacher, teacher_detail=0.0) > 1e-4
    assert distance() > 0.01  # the clean photo
    with pytest.raises(SeesrError, match="teacher: no enlarger"):
        distance(teacher=str(tmp_path))


def test_drawings_are_as_the_seed_says() -> None:
    photos, seeds = torch.rand(40, 3, 64, 48), torch.arange(40)
    drawn = with_drawings(photos, seeds, 0.5)
    assert drawn.shape == photos.shape
    assert 0 <= drawn.min() <= drawn.max() <= 1
    same = [torch.equal(a, b) for a, b in zip(drawn, photos)]
    assert 10 <= sum(same) <= 30
    assert torch.equal(with_drawings(photos[7:8], seeds[7:8], 0.5)[0], drawn[7])
    assert torch.equal(with_drawings(photos, seeds, 0.0), photos)


def test_drawings_have_lines_and_nothing() -> None:
    drawn = with_drawings(torch.zeros(60, 3, 160, 160), torch.arange(60), 1.0)
    spread = local_deviation(drawn)
    assert (spread < 0.5).float().mean() > 0.3
    assert (spread > 20).float().mean() > 0.1


def test_the_teacher_is_followed_where_there_is_detail() -> None:
    flat, rich = torch.full((1, 3, 32, 32), 0.5), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    taught, weights = torch.zeros(1, 3, 32, 32), LossWeights(taught=1.0, flat=1.0)
    of_flat, of_rich = (pixel_terms(clean, clean, weights, taught) for clean in (flat, rich))
    assert of_flat["taught"] == 0  # the target itself
    assert of_rich["taught"] == pytest.approx(float(rich.mean()))
    assert float(pixel_terms(rich, flat, weights, None)["flat"]) > 0.15  # 40 levels of texture where nothing is
    assert of_flat["flat"] == of_rich["flat"] == 0
    assert "taught" not in pixel_terms(rich, flat, weights, None)


def test_unknown_shares_are_refused(tmp_path: Path, config: EnlargerConfig) -> None:
    with pytest.raises(SeesrError, match="drawings"):
        load_config(EnlargerConfig, tmp_path / "config.yaml", ["drawings=2"])
    with pytest.raises(SeesrError, match=r"loss\.taught"):
        load_config(EnlargerConfig, tmp_path / "config.yaml", ["bank=null"])
    assert DegradationMix(config.degradation).shares == [1.0]
