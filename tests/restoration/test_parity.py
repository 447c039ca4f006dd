"""Given the published code's inputs, every part computes what the published code computes."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import DATA, Reference
from seesr import SeeSRPipeline
from seesr.checkpoints.upstream import read_rca_model
from seesr.models import dape, lora
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
from seesr.photos.pictures import to_tensor
from seesr.restoration import color_fix as color


def restore(pipeline: SeeSRPipeline, reference: Reference, **changes):
    run = reference.run | changes
    return pipeline(Image.open(reference.files / "input.png"), profile="paper", **run)


def test_sampling_trace(reference: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(reference.model))
    trace: list[torch.Tensor] = []
    result = restore(
        pipeline, reference, callback=lambda event: trace.append(event.latents) if event.latents is not None else None
    )
    assert result.prompts == [reference.prompt]
    expected = reference.expected("sampling")["latents"]
    assert len(trace) == len(expected)
    for latents, wanted in zip(trace, expected, strict=True):
        assert (latents - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    picture = np.asarray(Image.open(reference.files / "expected" / "output.png"), dtype=int)
    difference = np.abs(np.asarray(result.images[0], dtype=int) - picture)
    assert difference.mean() < 0.01
    assert difference.max() <= 1  # README says so


def test_tiles_at_once_change_nothing(tiled: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiled.model))
    one, many = (restore(pipeline, tiled, tile_batch_size=n, output_type="pt").images[0] for n in (1, 5))
    assert (one - many).abs().max() <= 1.01 / 255  # a pixel or two, rounded to the other side of a level
    assert (one - many).abs().mean() < 1e-3 / 255


def test_guidance_interval_and_start_point(tiny: Reference) -> None:
    """No step guided is the same as no guidance; pure noise starts elsewhere than the LR embedding."""
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))

    def picture(**changes) -> torch.Tensor:
        return restore(pipeline, tiny, color_fix="none", output_type="pt", **changes).images[0]

    unguided, guided = picture(guidance_scale=1.0), picture()
    late = picture(guidance_interval=(0.9, 1.0))  # the last of four steps alone
    assert not torch.equal(unguided, guided)
    assert 0 < (late - unguided).abs().mean() < (guided - unguided).abs().mean()
    assert (picture(start_point="noise") - guided).abs().mean() > 1e-3  # .0024


def test_half_precision_stays_close(tiny: Reference) -> None:
    """bfloat16 has 8 bits of mantissa: with the reference's random weights the picture moves by a level."""
    exact, rounded = (
        np.asarray(
            restore(
                SeeSRPipeline.from_pretrained(str(tiny.model), dtype=dtype), tiny, num_inference_steps=2, tags=["snow"]
            ).images[0],
            dtype=int,
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert 0 < np.abs(exact - rounded).mean() < 1.6  # 1.24


def test_denoiser() -> None:
    folder = DATA / "upstream_tiny"
    unet = read_rca_model(SemanticUNet, folder / "seesr" / "unet").float().eval()
    controlnet = read_rca_model(SemanticControlNet, folder / "seesr" / "controlnet").float().eval()
    x = load_file(folder / "expected" / "denoiser.safetensors")
    seen = {"image_embeds": x["image_embeds"]}
    with torch.inference_mode():
        down, mid = controlnet(
            x["latents"],
            x["timesteps"],
            x["prompt_embeds"],
            x["control_image"],
            cross_attention_kwargs=seen,
            return_dict=False,
        )
        noise = unet(
            x["latents"],
            x["timesteps"],
            x["prompt_embeds"],
            cross_attention_kwargs=seen,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
    for i, residual in enumerate(down):
        wanted = x[f"down_residual_{i}"]
        assert (residual - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp(min=1)
    assert (mid - x["mid_residual"]).abs().max() <= 1e-5 * x["mid_residual"].abs().max().clamp(min=1)
    assert (noise - x["noise_pred"]).abs().max() <= 1e-5


def test_tagger_with_and_without_dape(tiny: Reference) -> None:
    tagger, wanted = SeeSRPipeline.from_pretrained(str(tiny.model)).tagger, tiny.expected("tagger")
    pixels = tagger.preprocess(to_tensor(Image.open(tiny.files / "input.png")))
    with torch.inference_mode():
        seen = tagger(pixels)
        with dape.plain_ram(tagger):
            plain = tagger(pixels)
    for output, name in ((seen, "dape"), (plain, "ram")):
        assert (output.image_embeds - wanted[f"{name}_image_embeds"]).abs().max() <= 1e-4
        assert (output.logits - wanted[f"{name}_logits"]).abs().max() <= 1e-4
    lora.merge(tagger)
    with torch.inference_mode():
        assert (tagger(pixels).logits - wanted["dape_logits"]).abs().max() <= 1e-4
    lora.unmerge(tagger)
    with dape.plain_ram(tagger), torch.inference_mode():
        assert (tagger(pixels).logits - wanted["ram_logits"]).abs().max() <= 1e-4


@pytest.mark.parametrize("method", ["adain", "wavelet"])
def test_color_fixes(method: str) -> None:
    x = load_file(DATA / "upstream_tiny" / "expected" / "color.safetensors")
    fixed = getattr(color, method)(x["target"], x["source"])  # the file's "target" is what gets fixed
    assert (fixed - x[method]).abs().max() <= 1e-5
