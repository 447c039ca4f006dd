"""Where in a photo the taggers see their tags, and the sheet that shows it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from taggers import save_small_ram
from torch import nn

from conftest import ROOT, Outcome, Reference
from seesr import SeeSRPipeline
from seesr.loading import load_tagger
from seesr.models.tagger import Tagger
from seesr.models.tagging import Tag
from seesr.restoration.restorer import Restorer
from seesr.restoration.tag_sheet import draw_tags


@pytest.fixture(scope="module")
def mini() -> Restorer:
    return load_tagger("mini", torch.float32, torch.device("cpu"))


def halves(*names: str, stacked: bool = False) -> Image.Image:
    """Squares cut from examples, side by side or one above the other."""
    picture = Image.new("RGB", (120, 240) if stacked else (240, 120))
    for place, name in enumerate(names):
        photo = Image.open(ROOT / "examples" / f"{name}.jpg").crop((0, 0, 120, 120))
        picture.paste(photo, (0, 120 * place) if stacked else (120 * place, 0))
    return picture


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(("left", "right"), [("cat", "coffee"), ("coffee", "cat"), ("cat", "astronaut")])
def test_a_tag_is_found_in_its_half(mini: Restorer, left: str, right: str, stacked: bool) -> None:
    image_embeds = mini.see(halves(left, right, stacked=stacked))[1]
    tags = {"cat": ["cat", "animal"], "coffee": ["coffee", "drink", "food"], "astronaut": ["face"]}
    assert mini.tagger is not None
    maps = mini.tagger.tag_maps(image_embeds, [*tags[left], *tags[right]])
    assert maps.amax((1, 2)).tolist() == [1] * len(maps)
    half = maps.shape[-1] // 2
    first = (maps[:, :half] if stacked else maps[..., :half]).sum((1, 2)) / maps.sum((1, 2))
    assert first[: len(tags[left])].min() > 0.8
    assert first[len(tags[left]) :].max() < 0.3


def test_ram_finds_what_speaks_for_a_tag_and_not_all_it_looks_at() -> None:
    """Tag 0 attends to tokens 3 and 5 alike; only 3 raises its logit. Tag 1 finds nothing anywhere."""
    swin = {"image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": 2}
    head = {"image_embed_dim": 4, "label_dim": 4, "head_dim": 4, "head_layers": 1, "head_heads": 1}
    tagger = Tagger(["a", "b"], [0.5, 0.5], **swin, **head, head_feed_forward_dim=4)
    with torch.no_grad():
        for parameter in (*tagger.head.parameters(), *tagger.wordvec_proj.parameters(), *tagger.fc.parameters()):
            parameter.zero_()
        layer = tagger.head[0]
        eye = torch.eye(4)
        tagger.label_embed.copy_(eye[:2])
        for linear in (tagger.wordvec_proj, layer.attention_out, layer.attention.query):
            linear.weight.copy_(eye)
        layer.attention.key.weight.copy_(12 * eye)
        layer.attention.value.weight[2, 2] = tagger.fc.weight[0, 2] = 1  # channel 2 is what the logit grows with
        for norm in (layer.attention_norm, layer.norm):
            norm.weight.fill_(1)
        tokens = torch.zeros(1, 1 + 9, 4)
        tokens[0, [1 + 3, 1 + 5], 0] = 1  # attract tag 0
        tokens[0, 1 + 3, 2], tokens[0, 1 + 5, 2] = 1, -1
    weights = layer.attention.weights(eye[None, :2], tokens)[0, 0, 0]
    assert weights[4] == weights[6] > 0.4
    maps = tagger.tag_maps(tokens, ["a", "b"])
    assert maps.shape == (2, 3, 3)
    assert maps[0, 1, 0] == 1
    assert maps[0].sum() == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="'c' is not in list"):
        tagger.tag_maps(tokens, ["c"])


def test_ram_attention_in_two_steps_is_attention() -> None:
    attention = Tagger(["a"], [0.5], image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2).head[
        0
    ]
    tags, tokens = torch.randn(2, 5, 768), torch.randn(2, 7, 512)
    for linear in (attention.attention.query, attention.attention.key, attention.attention.value):
        nn.init.normal_(linear.weight, std=0.1)
    weights = attention.attention.weights(tags, tokens)
    gathered = attention.attention.gather(weights, tokens)
    torch.testing.assert_close(gathered, attention.attention(tags, tokens), rtol=1e-4, atol=1e-4)


def test_maps_of_a_tagger_that_was_moved_in_inference_mode(tmp_path: Path) -> None:
    """As diffusers' offloading does, within the pipeline's call."""
    tagger = Tagger.from_pretrained(save_small_ram(tmp_path / "ram")).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        image_embeds = tagger(x).image_embeds
        before = tagger.tag_maps(image_embeds, ["tag0", "tag5"])
        nn.Module.to(nn.Module.to(tagger, torch.float64), torch.float32)
        assert tagger.fc.weight.is_inference()
        torch.testing.assert_close(tagger.tag_maps(image_embeds, ["tag0", "tag5"]), before)
        assert tagger.tag_maps(image_embeds, []).shape == (0, 2, 2)


def test_the_call_tells_where_when_asked(tiny: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png").convert("RGB")
    few = {"num_inference_steps": 1, "process_size": 64, "profile": "paper"}
    asked, plain = pipeline([photo, photo], tag_maps=True, **few), pipeline(photo, **few)
    assert plain.tag_maps == []
    assert asked.images[0] == plain.images[0]
    (maps, again), found = asked.tag_maps, asked.tags[0]
    side = round((pipeline.see(photo)[1].shape[1] - 1) ** 0.5)  # type: ignore[union-attr]
    assert maps.shape == (len(found), side, side)
    assert maps.min() >= 0
    assert maps.max() == 1
    assert torch.equal(maps, again)


@pytest.mark.parametrize("count", [0, 1, 10, 30])
@pytest.mark.parametrize("size", [(300, 200), (20, 400), (900, 30)])
def test_sheets_take_any_number_of_tags_and_any_name(count: int, size: tuple[int, int]) -> None:
    names = ["cat", "a name much longer than its panel is wide, which is cut", "W" * 80]
    tags = [Tag(names[i % 3], 1 - i / 40) for i in range(count)]
    sheet = draw_tags(Image.new("RGB", size, "white"), tags, torch.rand(count, 8, 8))
    ground = sheet.getpixel((0, 0))
    margin = [sheet.crop((sheet.width - 24, 0, sheet.width, sheet.height)), sheet.crop((0, 0, 24, sheet.height))]
    assert all(part.getcolors() == [(part.width * part.height, ground)] for part in margin)
    assert max(sheet.size) < 4000


def test_command_draws_sheets(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    halves("cat", "coffee").save(tmp_path / "two.jpg")
    halves("coffee", "cat").save(tmp_path / "own.png")
    outcome = seesr("tags", tmp_path / "two.jpg", "--map", tmp_path / "map.png")
    assert outcome.code == 0, outcome.err
    assert Image.open(tmp_path / "map.png").width > 300
    assert seesr("tags", tmp_path / "two.jpg", "--map", tmp_path / "map.png").code == 0  # ours
    refused = seesr("tags", tmp_path / "two.jpg", "--map", tmp_path / "own.png")
    assert refused.code == 2
    assert "--overwrite" in refused.err
    outcome = seesr("tags", tmp_path / "two.jpg", tmp_path / "own.png", "--map", tmp_path / "maps")
    assert outcome.code == 0, outcome.err
    assert {path.name for path in (tmp_path / "maps").glob("*.png")} == {"two-tags.png", "own-tags.png"}
