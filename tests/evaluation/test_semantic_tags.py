"""`seesr semantics` with a tagger: tags of restored pictures, and how DAPE and RAM bear stronger degradations."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seesr.data.samples import TrainingPhoto
from seesr.degradation import apply, draw, preset
from seesr.degradation.strength import soften
from seesr.errors import SeesrError
from seesr.evaluation.semantics.experiment import RAM, ExperimentSettings, dape_experiment
from seesr.evaluation.semantics.sight import look
from seesr.loading import tagger_from_folder
from seesr.metrics.tags import paired_intervals, score_tags
from seesr.models.conv_tagger import ConvTagger
from seesr.photos.pictures import to_tensor

EXAMPLES = Path(__file__).parents[2] / "examples"


def small_tagger(lora_rank: int) -> ConvTagger:
    return ConvTagger(
        [f"tag {k}" for k in range(12)],
        [1 / 12] * 12,
        [[k] for k in range(12)],
        num_classes=12,
        image_size=64,
        stem_channels=8,
        channels=[8] * 7,
        repeats=[1] * 7,
        head_channels=32,
        image_embed_dim=8,
        lora_rank=lora_rank,
    )


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small tagger with random weights, among them DAPE's, strong enough to tell pictures apart."""
    torch.manual_seed(0)
    network = small_tagger(lora_rank=2)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    folder = tmp_path_factory.mktemp("tagger")
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures of different content, 64 pixels a side."""
    folder = tmp_path / "photos"
    folder.mkdir()
    image = Image.open(EXAMPLES / "cat.jpg").convert("RGB").resize((128, 128))
    for i in range(4):
        image.crop((i % 2 * 64, i // 2 * 64, i % 2 * 64 + 64, i // 2 * 64 + 64)).save(folder / f"{i}.png")
    return folder


def test_tags_of_restored_pictures(tagger: Path, photos: Path, tmp_path: Path, seesr: Callable[..., Any]) -> None:
    out = tmp_path / "out"
    method = f"folder:{photos}"
    outcome = seesr(
        *("semantics", "tags", "--testset", photos, "--degrade", "seesr", "--method", method),
        *("--tagger", tagger, "-o", out),
    )
    assert outcome.code == 0, outcome.err
    rows = json.loads((out / "tags.json").read_text())["rows"]
    assert rows[method]["summary"] == pytest.approx(dict.fromkeys(("OP", "OR", "AP", "CP", "CR", "mAP"), 100))
    assert rows["LR"]["summary"]["AP"] < 100
    with (out / "tags_each.csv").open() as file:
        each = [row for row in csv.DictReader(file) if row["row"] == "LR"]
    right, true = (sum(int(row[column]) for row in each) for column in ("right", "true"))
    assert rows["LR"]["summary"]["OR"] == pytest.approx(100 * right / true)
    assert Image.open(out / "tags.png").width > 1000


def test_dape_experiment(tagger: Path, photos: Path, tmp_path: Path, seesr: Callable[..., Any]) -> None:
    out = tmp_path / "out"
    command = ("semantics", "dape", photos, "--tagger", tagger, "--size", 64, "--strengths", "1,0.5")
    assert seesr(*command, "-o", out).code == 0
    with (out / "dape.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["strength"], row["tagger"]) for row in rows] == [
        (s, t) for s in ("0.5", "1.0") for t in ("RAM", "DAPE")
    ]
    assert any(rows[0][name] != rows[1][name] for name in ("OP", "AP", "mAP"))
    assert Image.open(out / "dape.png").width > 1000
    assert seesr(*command, "-o", tmp_path / "again").code == 0
    assert (tmp_path / "again" / "dape.csv").read_text() == (out / "dape.csv").read_text()

    for i, label in enumerate(("nothing it knows", "")):
        (photos / f"{i}.json").write_text(json.dumps({"label": label}))
    outcome = seesr(*command, "-o", out, "--truth", "labels")
    assert outcome.code == 2
    assert "2.png: has no label or tags" in outcome.err


def test_dape_experiment_by_hand(tagger: Path) -> None:
    """One point against the pieces it is made of: RAM's tags of the clean photo, the LR picture of the drawn plan."""
    network = tagger_from_folder(tagger)
    pixels = np.asarray(Image.open(EXAMPLES / "cat.jpg").convert("RGB").resize((64, 64)))
    photos = [
        TrainingPhoto("a", pixels, {"tags": [network.config.tags[3].upper(), "none of its tags"]}),
        TrainingPhoto("b", pixels[::-1]),
    ]
    settings = ExperimentSettings(strengths=(1.0,), size=64, degradation="bicubic", seed=5)
    ram, dape = dape_experiment(photos, network, settings)
    clean = [Image.fromarray(photo.pixels) for photo in photos]
    low = []
    for image in clean:
        lr = apply(draw(preset("bicubic"), 0, 64, 64), to_tensor(image)[0])[0]  # this preset draws nothing
        low.append(Image.fromarray((lr * 255).round().byte().permute(1, 2, 0).numpy()))
    truth = look(network, clean, dape=False).on
    assert truth.any()
    assert ram.tagger == RAM
    assert ram.scores == score_tags(network.config.tags, truth, look(network, low, dape=False))
    assert (ram.over_ram, dape.over_ram) == (
        None,
        paired_intervals(truth, look(network, low, dape=True), look(network, low, dape=False)),
    )
    assert dape.scores == score_tags(network.config.tags, truth, look(network, low, dape=True))

    labelled = dape_experiment(photos[:1], network, ExperimentSettings(strengths=(0.0,), size=64, truth="labels"))[0]
    assert [(row["tag"], row["true"]) for row in labelled.scores.tags if row["true"]] == [(network.config.tags[3], 1)]
    for wrong, match in (
        ({"strengths": (2.0,)}, "are not from 0 to 1"),
        ({"size": 30}, "multiple of 4"),
        ({"truth": "guess"}, "use ram or labels"),
        ({"degradation": "rain"}, "unknown degradation preset"),
    ):
        with pytest.raises(SeesrError, match=match):
            ExperimentSettings(**wrong)


def test_strength_scales_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    hr = to_tensor(Image.open(EXAMPLES / "cat.jpg").resize((96, 96)))[0]
    losses = []
    for seed in rng.integers(2**31, size=12).tolist():
        plan = draw(preset("real-esrgan"), seed, 96, 96)
        assert soften(plan, 1.0, 96, 96) == plan
        bare = apply(soften(plan, 0.0, 96, 96), hr)[0]
        losses.append([float((apply(soften(plan, s, 96, 96), hr)[0] - bare).square().mean()) for s in (0.05, 0.5, 1.0)])
    assert np.all(np.diff(np.mean(losses, 0)) > 0)
    assert np.mean(losses, 0)[0] < 0.4 * np.mean(losses, 0)[2]  # the steps themselves remain
    with pytest.raises(SeesrError, match=r"strength cannot be 1\.5"):
        soften(plan, 1.5, 96, 96)


def test_a_tagger_without_dape_is_refused() -> None:
    with pytest.raises(SeesrError, match="no LoRA factors"):
        dape_experiment(
            [TrainingPhoto("a", np.zeros((8, 8, 3), np.uint8))], small_tagger(lora_rank=0), ExperimentSettings(size=64)
        )
