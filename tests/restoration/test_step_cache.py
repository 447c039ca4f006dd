"""What is constant over the steps is computed once, and the prediction is the same."""

import pytest
import torch
from PIL import Image
from torch import nn

from conftest import Reference
from seesr import SeeSRPipeline
from seesr.restoration.settings import Settings
from seesr.restoration.step_cache import Allowance, remembered_contexts
from seesr.restoration.tile_predictor import Context, TilePredictor
from seesr.tiling.geometry import LATENT_FACTOR, Tile

TILES = [Tile(0, 0, 8, 8), Tile(0, 6, 8, 8), Tile(0, 12, 8, 8)]


@pytest.fixture(scope="module")
def networks(tiny: Reference) -> tuple[nn.Module, nn.Module]:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    return pipeline.unet.double(), pipeline.controlnet.double()  # rounding out of the way


def plain(networks: tuple[nn.Module, nn.Module], group: dict[Tile, Context], latents, picture) -> torch.Tensor:
    """The guided predictions for tiles, by nothing but the networks' own forward: (n, 2, c, T, T)."""
    unet, controlnet = networks
    x = torch.cat([tile.of(latents) for tile in group] * 2)
    condition = torch.cat([tile.of(picture, LATENT_FACTOR) for tile in group] * 2)
    text = torch.cat([context.text[i : i + 1] for i in range(2) for context in group.values()])
    seen = {"image_embeds": torch.cat([context.image for context in group.values()] * 2)}
    down, mid = controlnet(x, 500, text, condition, cross_attention_kwargs=seen, return_dict=False)
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    prediction = unet(x, 500, text, cross_attention_kwargs=seen, **residuals).sample
    return prediction.unflatten(0, (2, len(group))).transpose(0, 1)


@torch.inference_mode()
@pytest.mark.parametrize("of_each_tile", [False, True])
@pytest.mark.parametrize("kept_bytes", [0, 20_000, 1 << 30])
def test_predictions_are_those_of_the_networks(networks, of_each_tile: bool, kept_bytes: int) -> None:
    unet, controlnet = networks
    latents, picture = torch.randn(1, 4, 8, 20).double(), torch.rand(1, 3, 64, 160).double()
    width, embed = unet.config.cross_attention_dim, unet.config.image_embed_dim
    contexts = [
        Context(torch.randn(2, 77, width).double(), torch.randn(1, 10, embed).double())
        for _ in TILES[: 3 if of_each_tile else 1]
    ]
    told = dict(zip(TILES, contexts if of_each_tile else contexts * 3))
    condition = lambda tile: tile.of(picture, LATENT_FACTOR)  # noqa: E731
    with TilePredictor(unet, controlnet, condition, TILES, contexts, Settings(), kept_bytes) as predictor:
        for _ in range(2):  # the second time from memory
            for group in (TILES[:2], TILES[2:]):
                found = predictor(group, latents, torch.tensor(500), True)
                wanted = plain(networks, {tile: told[tile] for tile in group}, latents, picture)
                assert (found - wanted).abs().max() <= 1e-12


@torch.inference_mode()
def test_keys_and_values_are_computed_once(networks) -> None:
    unet, _ = networks
    project = next(module.to_k for module in unet.modules() if getattr(module, "is_cross_attention", False))
    products, original = [], project.forward
    context = torch.randn(1, 5, project.in_features).double()
    project.forward = replaced = lambda x: products.append(1) or original(x)  # as accelerate's hooks do
    try:
        with remembered_contexts([unet], Allowance(1 << 30)) as remember:
            remember(context)
            first, second = project(context), project(context)
            other = project(context.clone())
        assert torch.equal(first, second)
        assert torch.equal(first, other)
        assert len(products) == 2  # once for the context told of, once for its copy
        assert project.forward is replaced
    finally:
        del project.forward
    with remembered_contexts([unet], Allowance(0)) as remember:
        remember(context)
        assert torch.equal(project(context), first)
    assert "forward" not in vars(project)


def test_the_loop_runs_what_is_constant_once(tiny: Reference) -> None:
    """Four guided steps of two tiles: the ControlNet's condition is embedded once a tile."""
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    embedded, keys = [], []
    pipeline.controlnet.controlnet_cond_embedding.conv_in.register_forward_hook(lambda *_: embedded.append(1))
    text = [m for m in pipeline.unet.modules() if getattr(m, "is_cross_attention", False)]
    for attention in text:
        forward = attention.to_k.forward
        attention.to_k.forward = lambda x, forward=forward: keys.append(1) or forward(x)
    photo = Image.open(tiny.files / "input.png").convert("RGB").resize((32, 16))
    settings = {"num_inference_steps": 4, "process_size": 64, "latent_tile_size": 8, "latent_tile_overlap": 0}
    pipeline(photo, profile="paper", tile_batch_size=1, **settings)
    assert len(embedded) == 2
    assert len(keys) == len(text)


def test_tiles_are_told_what_is_under_them(tiny: Reference) -> None:
    """Tags of each tile's own part of the photo; one tile is the whole photo."""
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    seen, texts = [], []
    see, encode = pipeline.see, pipeline.encode_prompts
    pipeline.see = lambda part: seen.append(part.copy()) or see(part)
    pipeline.encode_prompts = lambda prompts: texts.append(prompts) or encode(prompts)
    photo = Image.open(tiny.files / "input.png").convert("RGB").resize((32, 16))
    settings = {"profile": "paper", "num_inference_steps": 1, "process_size": 64, "output_type": "pt"}
    tiles = {"latent_tile_size": 8, "latent_tile_overlap": 0}
    same = pipeline(photo, **settings, **tiles).images[0]
    assert [part.size for part in seen] == [(32, 16)]
    seen.clear()
    own = pipeline(photo, tile_tags=True, **settings, **tiles).images[0]
    assert [part.size for part in seen] == [(32, 16), (16, 16), (16, 16)]
    assert seen[2].tobytes() == photo.crop((16, 0, 32, 16)).tobytes()
    assert not torch.equal(own, same)
    texts.clear()
    given = pipeline(photo, tile_tags=True, tags=["cat"], **settings, **tiles).prompts
    assert [prompts[1] for prompts in texts] == given  # one prompt for all: the user's tags hold everywhere
    seen.clear()
    pipeline(photo, tile_tags=True, **settings)
    assert len(seen) == 1
