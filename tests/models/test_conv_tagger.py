"""The embedded model's tagger: published weights folded right, classes as tags, DAPE on convolutions, its trainings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor, nn

from seesr.checkpoints.efficientnet import BATCH_NORM_EPS, from_published
from seesr.checkpoints.wordnet import group_classes, read_nouns
from seesr.errors import SeesrError
from seesr.loading import tagger_from_folder
from seesr.models.conv_tagger import ConvTagger, SameConv2d
from seesr.models.dape import add_lora, plain_ram
from seesr.models.lora import lora_layers, merge, unmerge
from seesr.photos.photo import read_photo
from seesr.photos.pictures import to_tensor
from seesr.training.scenes import add_scenes
from seesr.training.stages import dape, tagger
from seesr.training.vocabulary import calibrate

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "src" / "seesr" / "assets" / "mini" / "tagger"


def small(**changes: Any) -> ConvTagger:
    """Random weights large enough for the output to depend on the picture."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"tags": ["a", "b", "ab", "sky"], "thresholds": [0.5] * 4, "num_classes": 4}
    settings |= {"classes": [[0], [1], [0, 1], []], "image_size": 64, "stem_channels": 8, "head_channels": 32}
    settings |= {"channels": [8, 8, 8, 16, 16, 16, 16], "repeats": [1, 2, 1, 1, 1, 1, 1], "image_embed_dim": 16}
    network = ConvTagger(**(settings | changes)).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
    return network


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photos, three dark and three light, with labels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        light = number % 2
        squares = np.random.default_rng(number).integers(100 * light, 100 * light + 100, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(squares.repeat(8, 0).repeat(8, 1)).save(folder / f"{number}.png")
        labels = ["light", "odd"] if light else "dark"
        (folder / f"{number}.json").write_text(json.dumps({"labels": labels}))
    return folder


@pytest.fixture
def config(tmp_path: Path, photos: Path) -> Callable[..., Path]:
    def write(**values: Any) -> Path:
        common = {"output": str(tmp_path / "run"), "photos": [str(photos)], "validation_photos": [str(photos)]}
        common |= {"batch_size": 6, "learning_rate": 0.02, "schedule": "cosine", "ema_decay": 0.0}
        file = tmp_path / "stage.yaml"
        file.write_text(json.dumps(common | values))
        return file

    return write


def published(network: ConvTagger) -> dict[str, Tensor]:
    """A state dict as published, with batch normalisation apart, that fits the sizes of `network`."""
    generator = torch.Generator().manual_seed(1)
    tensors = {"_fc.weight": network.classifier.weight.detach(), "_fc.bias": network.classifier.bias.detach()}

    def add(conv: str, norm: str, weight: Tensor) -> None:
        tensors[f"{conv}.weight"] = torch.randn(weight.shape, generator=generator)
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{part}"] = torch.rand(len(weight), generator=generator) + 0.1

    add("_conv_stem", "_bn0", network.stem.weight)
    add("_conv_head", "_bn1", network.head.weight)
    for number, block in enumerate(network.blocks):
        if block.expand is not None:
            add(f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0", block.expand.weight)
        add(f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1", block.filter.weight)
        add(f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2", block.reduce.weight)
    return tensors


def test_batch_normalisation_is_folded_into_the_convolution_before_it() -> None:
    network = small()
    tensors = published(network)
    missing, unexpected = network.load_state_dict(from_published(tensors), strict=False)
    assert set(missing) == {"embed_scale", "embed_shift", "scenes.weight", "scenes.bias"}
    assert not unexpected
    for ours, conv, norm in (
        ("stem", "_conv_stem", "_bn0"),
        ("blocks.2.expand", "_blocks.2._expand_conv", "_blocks.2._bn0"),
        ("blocks.2.filter", "_blocks.2._depthwise_conv", "_blocks.2._bn1"),
        ("blocks.2.reduce", "_blocks.2._project_conv", "_blocks.2._bn2"),
    ):
        layer = network.get_submodule(ours)
        x = torch.randn(1, layer.in_channels, 9, 9)
        parts = [tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        stride, groups, padding = layer.stride, layer.groups, layer.kernel_size[0] // 2
        plain = F.conv2d(x, tensors[f"{conv}.weight"], None, stride, padding, groups=groups)
        torch.testing.assert_close(layer(x), F.batch_norm(plain, *parts, eps=BATCH_NORM_EPS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "kernel", "before", "after"), [(8, 3, 0, 1), (9, 3, 1, 1), (8, 5, 1, 2), (9, 5, 2, 2)]
)
def test_padding_is_that_of_tensorflow(side: int, kernel: int, before: int, after: int) -> None:
    conv, x = SameConv2d(2, 3, kernel, stride=2), torch.randn(1, 2, side, side)
    expected = F.conv2d(F.pad(x, (before, after, before, after)), conv.weight, conv.bias, 2)
    torch.testing.assert_close(conv(x), expected)


def test_probability_of_a_tag_is_the_sum_of_those_of_its_classes() -> None:
    network, classes = small(), torch.randn(3, 4)
    shares = classes.softmax(-1)
    expected = torch.stack([shares[:, 0], shares[:, 1], shares[:, 0] + shares[:, 1]], 1)
    torch.testing.assert_close(network.fold(classes).sigmoid(), expected)
    seen = network(network.preprocess(torch.rand(2, 3, 50, 70)))
    assert seen.logits.shape == (2, 4)
    assert seen.image_embeds.shape == (2, 1 + 4, 16)
    torch.testing.assert_close(seen.image_embeds[:, 0], seen.image_embeds[:, 1:].mean(1))


def test_dape_on_convolutions_begins_unchanged_and_merges() -> None:
    network, x = small(), torch.randn(1, 3, 64, 64)

    def see() -> Tensor:
        seen = network(x)
        return torch.cat([seen.image_embeds.flatten(), seen.logits.flatten()])

    before = see()
    add_lora(network, 2, 2, 0.5)
    assert len(lora_layers(network)) == 2 * len(network.blocks) - 1 + 1  # no expansion in the first block; the head
    torch.testing.assert_close(see(), before, rtol=0, atol=0)
    for layer in lora_layers(network).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    adapted = see()
    assert not torch.allclose(adapted, before, atol=1e-2)
    with plain_ram(network):
        torch.testing.assert_close(see(), before)
    merge(network)
    torch.testing.assert_close(see(), adapted, rtol=1e-4, atol=1e-4)
    unmerge(network)
    torch.testing.assert_close(see(), adapted, rtol=1e-4, atol=1e-4)


def test_dape_learns_on_convolutions(config: Callable[..., Path], tmp_path: Path) -> None:
    """40 steps on six photos: the distance to the teacher falls to well under that of the plain tagger."""
    small().save_pretrained(tmp_path / "plain")
    file = config(model=str(tmp_path / "plain"), size=64, steps=40, enlarge=False, lora_alpha=8.0)
    metrics = dape.train(file)
    assert metrics["representation"] < 0.7 * metrics["ram_representation"]
    trained = ConvTagger.from_pretrained(tmp_path / "run" / "model")
    assert trained.config.lora_rank == 8
    with plain_ram(trained), torch.no_grad():
        x = torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(trained(x).image_embeds, small()(x).image_embeds)


def test_tagger_learns_from_a_teacher(config: Callable[..., Path], tmp_path: Path) -> None:
    """40 steps on six photos from other weights: what the tags cost above the least possible falls to a third."""
    small().save_pretrained(tmp_path / "teacher")
    torch.manual_seed(1)
    start = small()
    nn.init.normal_(start.classifier.weight)
    nn.init.normal_(start.scenes.weight)
    start.save_pretrained(tmp_path / "start")
    paths = {"teacher": str(tmp_path / "teacher"), "start": str(tmp_path / "start")}
    least = tagger.train(config(**paths | {"start": paths["teacher"]}, steps=1, learning_rate=1e-9))["cross_entropy"]
    first = tagger.train(config(**paths, output=str(tmp_path / "first"), steps=1, learning_rate=1e-9))["cross_entropy"]
    last = tagger.train(config(**paths, output=str(tmp_path / "last"), steps=40))["cross_entropy"]
    assert last - least < (first - least) / 3


def test_new_tagger_learns_labels(config: Callable[..., Path], tmp_path: Path) -> None:
    """60 steps of a new Swin on six photos: cross-entropy from ln 2 to below .2, and the file loads."""
    swin = {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "window_size": 2}
    swin |= {"image_embed_dim": 32, "label_dim": 16, "head_dim": 32, "head_feed_forward_dim": 64}
    metrics = tagger.train(config(labels="labels", swin=swin, steps=60, learning_rate=3e-3))
    assert metrics["cross_entropy"] < 0.2
    assert metrics["mAP"] == 100
    assert tagger_from_folder(tmp_path / "run" / "model").config.tags == ["dark", "light", "odd"]


def test_tagger_stage_names_the_mistake(config: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(SeesrError, match="one of teacher"):
        tagger.train(config(steps=1))
    with pytest.raises(SeesrError, match="'names'; check labels"):
        tagger.train(config(labels="names", steps=1))
    small().save_pretrained(tmp_path / "other")
    with pytest.raises(SeesrError, match="has other tags than the photos"):
        tagger.train(config(labels="labels", start=str(tmp_path / "other"), steps=1))


def test_scenes_join_the_tags_of_classes(photos: Path, tmp_path: Path) -> None:
    small().save_pretrained(tmp_path / "tagger")
    shows = {f"photos/{n}": ["light"] if n % 2 else [] for n in range(6)}
    (tmp_path / "scenes.yaml").write_text(yaml.safe_dump({"tags": ["light"], "photos": shows}))
    before = small()
    add_scenes(tmp_path / "scenes.yaml", tmp_path / "tagger", [str(photos)])
    after = ConvTagger.from_pretrained(tmp_path / "tagger")
    assert after.config.tags == ["a", "b", "ab", "light"]
    for number in range(6):
        image = to_tensor(read_photo(photos / f"{number}.png").rgb)
        with torch.no_grad():
            logits, old = after(after.preprocess(image)).logits[0], before(before.preprocess(image)).logits[0]
        assert (logits[3] > 0) == (number % 2 == 1)
        torch.testing.assert_close(logits[:3], old[:3], rtol=0.05, atol=0.05)  # stored in half precision


NOUNS = """  1 This is a licence
00000001 03 n 01 animal 0 000 | lives
00000002 05 n 02 dog 0 hound 0 002 @ 00000001 n 0000 ~ 00000004 n 0000 | barks
00000003 05 n 01 cat 0 001 @ 00000001 n 0000 | mews
00000004 05 n 01 pug 0 001 @ 00000002 n 0000 | a small dog
00000005 06 n 01 cat 1 000 | a whip
"""


def test_tags_are_groups_of_classes(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text(NOUNS)
    nouns = read_nouns(tmp_path / "data.noun")
    classes = ["n00000003", "n00000004", "n00000005"]
    groups = group_classes(classes, {"pet": "animal", "dogs": ["dog"], "cats": "n00000003"}, nouns)
    assert groups == {"pet": [0, 1], "dogs": [1], "cats": [0]}
    with pytest.raises(SeesrError, match="tag cats: cat stands for 2"):
        group_classes(classes, {"cats": "cat"}, nouns)
    (tmp_path / "data.noun").write_text("00000001 03 n")
    with pytest.raises(SeesrError, match="is no readable"):
        read_nouns(tmp_path / "data.noun")


def test_thresholds_rise_until_false_alarms_are_few() -> None:
    truth = torch.zeros(1000, 2, dtype=torch.bool)
    truth[:10] = True
    probabilities = torch.where(truth, 0.9, 0.01)
    assert calibrate(probabilities, truth) == [0.3, 0.3]
    probabilities[10:15, 1] = 0.42
    assert calibrate(probabilities, truth) == [0.3, 0.45]
    common = torch.arange(1000)[:, None] < 500  # half of all classes: a photo of nothing gets .5
    assert calibrate(common.float(), common)[0] > 0.85


@pytest.mark.parametrize(
    ("photo", "tags"), [("astronaut", {"person", "face"}), ("coffee", {"coffee", "drink"}), ("cat", {"animal", "cat"})]
)
def test_shipped_tagger_knows_the_examples(photo: str, tags: set[str]) -> None:
    network = ConvTagger.from_pretrained(MINI)
    with torch.inference_mode():
        seen = network(network.preprocess(to_tensor(read_photo(next((ROOT / "examples").glob(f"{photo}.*"))).rgb)))
    assert seen.image_embeds.shape == (1, 65, 352)
    assert 0.5 < float(seen.image_embeds.std()) < 2
    assert tags <= {tag.name for tag in network.tags_on(seen.logits[0])}
