"""Grounded tags: where each word acts, and that it acts nowhere else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from conftest import ROOT, Reference
from seesr import SeeSRPipeline
from seesr.models.word_masks import WordMasks
from seesr.restoration.grounding import EVERYWHERE, Grounding, ground, reading_mask, sample_maps, tag_spans
from seesr.restoration.needs import Needs
from seesr.restoration.prompts import build_prompt
from seesr.restoration.sampling import guide
from seesr.restoration.settings import Settings
from seesr.restoration.tile_predictor import Context, TilePredictor
from seesr.tiling.geometry import Tile

SIDE = 16  # of the latents below
WHOLE = Tile(0, 0, SIDE, SIDE)
LEFT = torch.tensor([[[1.0, 1, 0, 0]] * 4])  # (1, 4, 4): a tag seen on the left


@pytest.fixture(scope="module")
def mini() -> SeeSRPipeline:
    return SeeSRPipeline.from_pretrained("mini")


def grounded(mini: SeeSRPipeline, tag: str, maps: Tensor = LEFT, **rest: Any) -> Grounding:
    return ground(f"{tag}, red, clean", [tag], ["cat", "dog"], lambda names: maps, mini.tokenizer, **rest)


class Watch:
    """What the text cross-attentions of UNet and ControlNet give out, in the order in which they run."""

    def __init__(self, *networks: Any) -> None:
        self.outputs: list[Tensor] = []
        self.handles = [
            module.register_forward_hook(lambda module, inputs, output: self.outputs.append(output))
            for network in networks
            for name, module in network.named_modules()
            if name.endswith(".attn2") and ".image_attentions." not in name
        ]


@torch.inference_mode()
def predict(mini: SeeSRPipeline, tag: str, ground_it: bool) -> tuple[list[Tensor], Tensor]:
    """The text cross-attentions' outputs, (2, hw, C) each, and the prediction, (2, c, SIDE, SIDE), of a first step."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, mini.unet.config.in_channels, SIDE, SIDE, generator=generator)
    image = torch.randn(1, 65, mini.unet.config.image_embed_dim, generator=generator)
    grounding = grounded(mini, tag) if ground_it else None
    mask = reading_mask(grounding.token_tags, grounding.end) if grounding else None
    text = torch.cat([mini.encode_prompts(["blur"]), mini.encode_prompts([f"{tag}, red, clean"], mask)])
    contexts = [Context(text, image, grounding)]
    watch = Watch(mini.unet, mini.controlnet)
    try:
        with TilePredictor(
            mini.unet, mini.controlnet, lambda tile: latents, [WHOLE], contexts, Settings(), 1 << 30
        ) as predictor:
            prediction = predictor([WHOLE], latents, torch.tensor(900), guided=True)[0]
    finally:
        for handle in watch.handles:
            handle.remove()
    return watch.outputs, prediction


def test_a_tag_cannot_change_a_text_attention_beyond_its_mask(mini: SeeSRPipeline) -> None:
    """Cat for dog, both seen on the left. In the first text attention of the ControlNet, where no word has had a say
    before, the right is the same bit for bit; without grounding no place is. The prediction changes mostly on the left.
    """
    runs = {on: [predict(mini, tag, on) for tag in ("cat", "dog")] for on in (True, False)}
    changed = {}
    for on, ((first, prediction), (second, other)) in runs.items():
        difference = (first[0] - second[0])[1].abs().amax(-1)  # of the positive prompt
        side = round(len(difference) ** 0.5)
        changed[on] = difference.unflatten(0, (side, side)) > 0
        assert torch.equal(first[0][0], second[0][0])  # the negative prompt says the same
        where = (prediction - other)[1].abs().mean(0)
        inside, outside = where[:, : SIDE // 2].mean(), where[:, SIDE // 2 :].mean()
        assert inside > 1.7 * outside if on else inside < 1.3 * outside
    side = changed[True].shape[-1]
    seen = F.adaptive_avg_pool2d(grounded(mini, "cat").masks(WHOLE, WHOLE)[1][None], side)[0] > 0
    assert seen.any()
    assert not seen.all()
    assert torch.equal(changed[True], seen)
    assert changed[False].all()


def test_masks_of_ones_change_nothing(mini: SeeSRPipeline) -> None:
    """All words everywhere: the attention is the plain one, up to rounding, at every level."""
    attention = mini.unet.down_blocks[-1].attentions[0].transformer_blocks[0].attn2
    states, text = torch.randn(2, 24, attention.query_dim), torch.randn(2, 77, mini.unet.config.cross_attention_dim)
    bias = WordMasks(torch.ones(2, 77, 8, 12)).bias(4, 6, torch.float32)
    assert bias.shape == (2, 24, 77)
    with torch.no_grad():
        torch.testing.assert_close(attention(states, text, bias), attention(states, text))


def test_the_text_tower_reads_each_tag_by_itself(mini: SeeSRPipeline) -> None:
    """The user's word and the end of the text say the same whatever the tag."""
    texts = []
    for tag in ("cat", "dog"):
        found = grounded(mini, tag)
        token_tags = found.token_tags
        assert token_tags.tolist()[:4] == [EVERYWHERE, 0, EVERYWHERE, EVERYWHERE]
        assert token_tags.tolist()[found.end :] == [EVERYWHERE, *([EVERYWHERE, 0] * 77)[: 76 - found.end]]
        with torch.inference_mode():
            texts.append(mini.encode_prompts([f"{tag}, red, clean"], reading_mask(token_tags, found.end))[0])
    same = (texts[0] == texts[1]).all(-1)
    assert torch.equal(same, token_tags == EVERYWHERE)


def test_words_are_found_in_every_form_of_prompt(mini: SeeSRPipeline) -> None:
    tags = ["polar bear", "cat", "zebra"]
    for reserve in (False, True):
        text = build_prompt(tags, "cat", "clean", mini.tokenizer, reserve)
        assert [text[start:end] for start, end in tag_spans(text, tags)] == tags
    many = [f"tag number {i}" for i in range(60)]
    text = build_prompt(many, "mine", "clean", mini.tokenizer, reserve=True)
    kept = tag_spans(text, many)
    assert [text[start:end] for start, end in kept] == many[: len(kept)]
    assert text[kept[-1][1] :] == ", mine, clean"
    cut = build_prompt(many, "", "", mini.tokenizer, reserve=False)
    found = ground(cut, many, many, lambda names: torch.zeros(len(names), 2, 2), mini.tokenizer)
    assert len(found.maps) == found.token_tags.max() + 1 < 60  # CLIP has no room for the rest


def test_unknown_and_absent_tags(mini: SeeSRPipeline) -> None:
    unknown = grounded(mini, "jabberwock", torch.zeros(0, 1, 1))
    assert torch.equal(unknown.masks(WHOLE, WHOLE), torch.ones(77, SIDE, SIDE))
    assert unknown.seen(WHOLE, WHOLE).min() == 1
    none = ground("red", [], ["cat"], lambda names: torch.zeros(0, 1, 1), mini.tokenizer)
    assert torch.equal(none.masks(WHOLE, WHOLE), torch.ones(77, SIDE, SIDE))
    assert none.seen(WHOLE, WHOLE).max() == 0


def test_maps_of_a_tile_are_cut_from_those_of_the_whole() -> None:
    maps = torch.rand(3, 8, 8)
    whole = F.interpolate(maps[None], (30, 20), mode="bilinear", align_corners=False)[0]
    tile = Tile(7, 3, 10, 12)
    torch.testing.assert_close(sample_maps(maps, tile, Tile(0, 0, 30, 20)), tile.of(whole))


def test_guidance_applies_where_some_tag_is_seen() -> None:
    predictions = torch.randn(2, 4, 5, 5)
    seen = torch.zeros(1, 1, 5, 5)
    seen[..., 3:] = 1
    guided = guide(predictions, 1 + (5.5 - 1) * seen)
    assert torch.equal(guided[0, :, :, :3], predictions[1, :, :, :3])
    torch.testing.assert_close(guided[..., 3:], guide(predictions, 5.5)[..., 3:])


@pytest.mark.parametrize("tiles", [{}, {"latent_tile_size": 8, "latent_tile_overlap": 2, "tile_batch_size": 2}])
@pytest.mark.parametrize("tile_tags", [False, True])
def test_any_tagger_and_any_tiles(tiny: Reference, tiles: dict[str, int], tile_tags: bool) -> None:
    """RAM's kind with random weights: restored, and not as without grounding."""
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png").convert("RGB")
    few: dict[str, Any] = {"num_inference_steps": 2, "process_size": 64, "profile": "paper", "output_type": "pt"}
    few |= {"tile_tags": tile_tags, "color_fix": "none"} | tiles
    plain, on = (pipeline(photo, ground_tags=on, **few) for on in (False, True))
    assert plain.prompts == on.prompts
    assert not torch.equal(plain.images[0], on.images[0])


def test_memory_of_the_masks_is_counted(mini: SeeSRPipeline) -> None:
    plain, on = (Needs(mini, (64, 64), 4.0, Settings(ground_tags=on)).denoiser(32, 1) for on in (False, True))
    assert on > plain


def test_it_changes_a_real_picture_and_off_is_off(mini: SeeSRPipeline, seesr: Callable[..., Any]) -> None:
    photo = Image.open(ROOT / "examples" / "cat.jpg").crop((40, 20, 72, 52))
    few: dict[str, Any] = {"profile": "diffusion", "num_inference_steps": 2, "guidance_scale": 3.0, "tags": ["cat"]}
    usual, off, on = (mini(photo, ground_tags=value, **few).images[0] for value in (None, False, True))
    assert usual.tobytes() == off.tobytes() != on.tobytes()
