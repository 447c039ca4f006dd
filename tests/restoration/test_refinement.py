"""From the second step on the networks are told of the photo mixed with what is predicted of it (AddSR)."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from conftest import Reference
from seesr import SeesrError, SeeSRPipeline, SeesrWarning
from seesr.restoration.refinement import clean_latents
from seesr.restoration.settings import Settings

STEPS: dict[str, Any] = {"profile": "paper", "num_inference_steps": 2, "process_size": 128, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def pipeline(tiny: Reference) -> SeeSRPipeline:
    return SeeSRPipeline.from_pretrained(str(tiny.model))


@pytest.fixture
def photo(tiny: Reference) -> Image.Image:
    return Image.open(tiny.files / "input.png").convert("RGB").crop((0, 0, 16, 16))


@contextmanager
def watched(module: nn.Module) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any], Any]]]:
    """Arguments, keywords and result of each call."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
    hook = module.register_forward_hook(
        lambda _, given, named, result: calls.append((given, dict(named), result)), with_kwargs=True
    )
    try:
        yield calls
    finally:
        hook.remove()


@torch.inference_mode()
def test_the_second_step_is_shown_half_of_the_prediction(pipeline: SeeSRPipeline, photo: Image.Image) -> None:
    first = pipeline.controlnet.controlnet_cond_embedding.conv_in  # the whole is left out where its result is known
    with watched(pipeline.unet) as unet, watched(first) as shown, watched(pipeline.tagger) as tagger:
        pipeline(photo, refine=0.5, **STEPS)
    assert [len(calls) for calls in (unet, shown, tagger)] == [2, 2, 2]

    (noisy, t), named, (noise, *_) = unet[0]
    alpha_bar = pipeline.scheduler.alphas_cumprod[int(t)]
    clean = (noisy - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
    decoded = pipeline.vae.decode(clean / pipeline.vae.config.scaling_factor).sample / 2 + 0.5
    wanted = (decoded + shown[0][0][0]).clamp(max=2) / 2  # the first step saw the enlarged photo
    assert (shown[1][0][0] - wanted.clamp(0, 1)).abs().max() * 255 < 0.51
    assert (shown[1][0][0] - shown[0][0][0]).abs().mean() > 0.02

    picture = Image.fromarray((shown[1][0][0][0] * 255).round().byte().permute(1, 2, 0).numpy())
    _, embeds = pipeline.see(picture)
    assert torch.equal(unet[1][1]["cross_attention_kwargs"]["image_embeds"], embeds)
    assert not torch.equal(named["cross_attention_kwargs"]["image_embeds"], embeds)
    assert torch.equal(unet[1][1]["encoder_hidden_states"], named["encoder_hidden_states"])


def test_without_it_and_with_one_step_nothing_changes(pipeline: SeeSRPipeline, photo: Image.Image) -> None:
    def restored(**settings: Any) -> np.ndarray:
        return np.asarray(pipeline(photo, **{**STEPS, **settings}).images[0])

    np.testing.assert_array_equal(restored(refine=0.0), restored())
    assert (restored(refine=0.5) != restored()).any()
    with pytest.warns(SeesrWarning, match=r"`refine` has no effect with one step"):
        once = restored(refine=0.5, num_inference_steps=1)
    np.testing.assert_array_equal(once, restored(num_inference_steps=1))
    with pytest.raises(SeesrError, match="does not go with `reuse`"):
        Settings(refine=0.5, reuse=2)


@torch.inference_mode()
@pytest.mark.parametrize("tiled", [False, True])
def test_given_embeddings_stay_and_tiles_look_for_themselves(
    pipeline: SeeSRPipeline, photo: Image.Image, tiled: bool
) -> None:
    settings = STEPS | {"latent_tile_size": 12, "tile_tags": tiled}
    embeds = pipeline.see(photo)[1]
    for given, looks in ((None, 2), (embeds, 1)):
        with watched(pipeline.tagger) as tagger, watched(pipeline.unet) as unet:
            pipeline(photo, image_embeds=given, refine=0.5, **settings)
        tiles = len(unet) // 2
        assert tiles > 1
        assert len(tagger) == (1 + looks * tiles if tiled else looks)
        if given is not None:
            assert all(torch.equal(named["cross_attention_kwargs"]["image_embeds"], given) for _, named, _ in unet)


def test_a_model_of_latent_conditions_and_residual_decoding_takes_it(photo: Image.Image) -> None:
    mini = SeeSRPipeline.from_pretrained("mini")
    shown: list[Tensor] = []
    given_by_step: Any = mini.controlnet.controlnet_cond_embedding.register_forward_hook(
        lambda _, given, out: shown.append(given[0])
    )
    mini(photo, profile="diffusion", num_inference_steps=2, refine=0.5)
    given_by_step.remove()
    first, second = (each for each in shown if each.shape[1] == mini.unet.config.in_channels)
    assert first.shape == second.shape
    assert 0 < (first - second).abs().mean() < first.abs().mean()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_prediction_of_any_kind_means_the_clean_latents(kind: str) -> None:
    clean, noise = torch.randn(2, 1, 4, 3, 3)
    alpha_bar = torch.linspace(0.99, 0.01, 100)
    share, rest = alpha_bar[70].sqrt(), (1 - alpha_bar[70]).sqrt()
    said = {"epsilon": noise, "v_prediction": share * noise - rest * clean, "sample": clean}[kind]
    scheduler: Any = SimpleNamespace(alphas_cumprod=alpha_bar, config=SimpleNamespace(prediction_type=kind))
    found = clean_latents(scheduler, share * clean + rest * noise, torch.tensor(70), said)
    torch.testing.assert_close(found, clean)
    scheduler.config.prediction_type = "flow"
    with pytest.raises(SeesrError, match="kind flow"):
        clean_latents(scheduler, clean, torch.tensor(70), noise)
