"""Deep features that serve several steps: computed as seldom as asked for, and right where nothing has changed."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conftest import Reference
from seesr import SeeSRPipeline
from seesr.restoration.settings import Settings
from seesr.restoration.tile_predictor import Context, TilePredictor
from seesr.tiling.geometry import LATENT_FACTOR, Tile

TILES = [Tile(0, 0, 9, 9), Tile(0, 7, 9, 9)]  # of no multiple of the UNet's reductions
T = torch.tensor(500)


@pytest.fixture(scope="module")
def pipeline(tiny: Reference) -> SeeSRPipeline:
    return SeeSRPipeline.from_pretrained(str(tiny.model))


@contextmanager
def predicting(pipeline: SeeSRPipeline, kept_bytes: int = 1 << 30) -> Iterator[TilePredictor]:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 72, 128)
    width, embed = pipeline.unet.config.cross_attention_dim, pipeline.unet.config.image_embed_dim
    contexts = [Context(torch.randn(2, 77, width), torch.randn(1, 10, embed))]
    condition = lambda tile: tile.of(picture, LATENT_FACTOR)  # noqa: E731
    networks, settings = (pipeline.unet, pipeline.controlnet), Settings(reuse=3)
    with TilePredictor(*networks, condition, TILES, contexts, settings, kept_bytes) as predictor:
        yield predictor


@contextmanager
def counted(*modules: nn.Module) -> Iterator[list[int]]:
    """How often each of `modules` computes, whoever stands in its place."""
    calls = [0] * len(modules)
    hooks = [
        module.register_forward_pre_hook(lambda *_, i=i: calls.__setitem__(i, calls[i] + 1))
        for i, module in enumerate(modules)
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def test_where_nothing_changed_the_features_are_those_computed_anew(pipeline: SeeSRPipeline) -> None:
    latents = torch.randn(1, 4, 9, 16)
    unet = pipeline.unet
    deep, outer = unet.mid_block.resnets[0], unet.up_blocks[-1].resnets[0]
    with predicting(pipeline) as predictor, counted(deep, outer, pipeline.controlnet) as calls:
        found = []
        for step in range(4):
            predictor.begin(step, guided=True)
            found.append(predictor(TILES, latents, T, True))
        assert calls == [2, 4, 2]  # steps 0 and 3
    assert all(torch.equal(other, found[0]) for other in found)
    assert not any("forward" in vars(module) for module in unet.modules())


@torch.inference_mode()
def test_the_outer_blocks_see_the_step(pipeline: SeeSRPipeline) -> None:
    before, now = torch.randn(2, 1, 4, 9, 16)
    with predicting(pipeline) as predictor:
        predictor.begin(0, guided=True)
        first = predictor(TILES, before, T, True)
        predictor.begin(1, guided=True)
        reused = predictor(TILES, now, T, True)
        predictor.begin(3, guided=True)
        whole = predictor(TILES, now, T, True)
    assert (reused - first).abs().mean() > 0.01
    assert 0 < (reused - whole).abs().mean() < (first - whole).abs().mean()


@torch.inference_mode()
def test_without_room_and_without_an_earlier_step_all_is_computed(pipeline: SeeSRPipeline) -> None:
    before, now = torch.randn(2, 1, 4, 9, 16)
    found = []
    for kept_bytes, guided in ((0, True), (1 << 30, False), (1 << 30, True)):
        with predicting(pipeline, kept_bytes) as predictor:
            predictor.begin(0, guided)
            predictor(TILES, before, T, guided)
            predictor.begin(1, guided=True)
            if guided and kept_bytes:
                predictor.begin(3, guided=True)
            found.append(predictor(TILES, now, T, True))
    assert torch.equal(found[0], found[2])  # no room
    assert torch.equal(found[1], found[2])  # guidance begins here


def test_a_restoration_calls_the_networks_less_often(pipeline: SeeSRPipeline) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    settings = {"num_inference_steps": 4, "process_size": 64}
    pictures = []
    for reuse in (1, 2):
        with counted(pipeline.controlnet, pipeline.unet) as calls:
            pictures.append(np.asarray(pipeline(photo, reuse=reuse, **settings).images[0], dtype=float))
        assert calls == [4 // reuse, 4]
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 30
