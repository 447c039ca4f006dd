"""`seesr upscale` end to end: the published picture, folders, empty prompts, and input that cannot be restored."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import Outcome, Reference
from seesr import SeeSRPipeline


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)


def test_published_picture_from_the_command_line(
    seesr: Callable[..., Outcome], reference: Reference, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    options = ("--model", reference.model, "--profile", "paper", *reference.upscale_options())
    assert seesr("upscale", reference.files / "input.png", "-o", out, *options).code == 0
    difference = np.abs(pixels(out) - pixels(reference.files / "expected" / "output.png"))
    assert difference.mean() < 0.01
    assert difference.max() <= 1  # README says so


def test_every_file_starts_from_the_seed(seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path) -> None:
    """A folder gives each photo what it gets alone, keeps the tree, and one bad file does not stop it."""
    photos = tmp_path / "in"
    (photos / "deep").mkdir(parents=True)
    shutil.copy(tiny.files / "input.png", photos / "b.png")
    Image.new("RGB", (20, 30), "teal").save(photos / "a.jpg")
    shutil.copy(tiny.files / "input.png", photos / "deep" / "c.png")
    (photos / "broken.png").write_bytes((photos / "b.png").read_bytes()[:900])
    (photos / "notes.txt").write_text("not a photo")
    options = ("--model", tiny.model, "--profile", "paper", *tiny.upscale_options(), "--steps", 2)
    outcome = seesr("upscale", photos, "-o", tmp_path / "out", *options)
    assert outcome.code == 2
    assert "broken.png" in outcome.err
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("[!.]*.*"))
    assert written == ["a.jpg", "b.png", "deep/c.png"]
    assert Image.open(tmp_path / "out" / "a.jpg").size == (80, 120)
    assert (pixels(tmp_path / "out" / "b.png") == pixels(tmp_path / "out" / "deep" / "c.png")).all()
    seesr("upscale", photos / "b.png", "-o", tmp_path / "alone.png", *options)
    assert (pixels(tmp_path / "alone.png") == pixels(tmp_path / "out" / "b.png")).all()


def test_prompt_controls(tiny: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png")

    def prompt(**settings: object) -> str:
        result = pipeline(photo, profile="paper", num_inference_steps=1, process_size=64, seed=0, **settings)
        assert result.images[0].size == (photo.width * 4, photo.height * 4)
        return result.prompts[0]

    assert prompt(tags=[], added_prompt="") == ", ,"
    assert prompt(tags=["cat", "Dog"], exclude_tags=["dog"], prompt="at night") == (
        "cat, at night,clean, high-resolution, 8k"
    )
    long = [f"tag{i} of many words" for i in range(60)]
    kept = pipeline(photo, profile="fast", num_inference_steps=1, process_size=64, tags=long).prompts[0]
    assert kept.endswith("clean, high-resolution, 8k")
    assert len(pipeline.tokenizer(kept)["input_ids"]) <= 77
    assert kept.startswith("tag0 of many words, tag1")


def test_fidelity_ends_at_the_enlarged_photo(tiny: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png").convert("RGB")
    settings = {"profile": "paper", "num_inference_steps": 1, "process_size": 64, "color_fix": "none"}
    ends = [np.asarray(pipeline(photo, fidelity=f, **settings).images[0], dtype=float) for f in (0.0, 0.5, 1.0)]
    bicubic = np.asarray(photo.resize((photo.width * 4, photo.height * 4), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(ends[2] - bicubic).max() <= 1
    whole = (ends[0] > 0) & (ends[0] < 255)  # the rest is cut to 8 bits only after the two are mixed
    assert whole.mean() > 0.8
    assert np.abs(ends[1] - (ends[0] + ends[2]) / 2)[whole].max() <= 1


def test_other_schedulers_denoise(tiny: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png")
    settings = {"profile": "paper", "process_size": 64, "num_inference_steps": 4, "color_fix": "none"}
    by_ddpm = pipeline(photo, output_type="pt", **settings).images[0]
    names = ("ddim", "dpm++", "euler", "euler-a", "unipc", "heun", "LMSDiscreteScheduler")
    others = [pipeline(photo, output_type="pt", scheduler=name, **settings).images[0] for name in names]
    apart = {name: float((by_ddpm - other).abs().mean()) for name, other in zip(names, others)}
    assert all(0 < distance < 0.35 for distance in apart.values()), apart
    # another path, but no divergence: pictures of noise differ by .33


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, ["no such file"]),
        (lambda path: path.write_bytes(b""), ["empty"]),
        (lambda path: path.write_text("hello"), ["not a picture"]),
        (lambda path: path.mkdir(), ["holds no photo"]),
    ],
)
def test_bad_photo(seesr: Callable[..., Outcome], tmp_path: Path, make: Callable[[Path], object], words: list) -> None:
    make(tmp_path / "photo.png")
    before = sorted(tmp_path.rglob("*"))
    refused(seesr("upscale", tmp_path / "photo.png", "-o", tmp_path / "out.png"), "photo.png", *words)
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_options(seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path) -> None:
    photo, out = tiny.files / "input.png", tmp_path / "out.png"
    model = ("--model", tiny.model, "--steps", 1, "--process-size", 64)
    (tmp_path / "file").write_text("in the way")
    shutil.copy(photo, tmp_path / "own.png")
    for arguments, words in (
        ((photo, "-o", out, "--model", "nothing"), ["no model 'nothing'"]),
        ((photo, "-o", out, "--model", tmp_path), ["model_index.json"]),
        ((photo, "-o", tmp_path / "out.xyz", *model), ["holds no", "out.xyz"]),
        ((photo, "-o", tmp_path / "file" / "out.png", *model), ["is not a folder"]),
        ((tmp_path / "own.png", "-o", tmp_path / "own.png", *model), ["replace the photo itself"]),
        ((photo, "-o", out, *model, "--scale", "0"), ["scale"]),
        ((photo, "-o", out, *model, "--steps", "-1"), ["--steps cannot be -1", "from 0 to 1000"]),
        ((photo, "-o", out, *model, "--fidelity", "2"), ["fidelity"]),
        ((photo, "-o", out, *model, "--scheduler", "magic"), ["magic", "ddpm"]),
        ((photo, "-o", out, *model, "--profile", "best"), ["best", "paper"]),
        ((photo, "-o", out, *model, "--latent-tile", "16", "--latent-overlap", "16"), ["overlap"]),
        ((photo, "-o", out, *model, "--device", "abacus"), ["abacus"]),
        ((photo, "-o", out, *model, "--dtype", "int3"), ["int3"]),
    ):
        outcome = seesr("upscale", *arguments)
        if words[0] == "holds no":  # an output without image suffix is a folder's name
            assert outcome.code == 0
            continue
        refused(outcome, *words)
        assert not out.exists()


def test_damaged_model(seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny.model, model)
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    nan = {name: torch.full_like(t, float("nan")) if name == "conv_out.bias" else t for name, t in tensors.items()}
    save_file(nan, weights)
    command = ("upscale", tiny.files / "input.png", "-o", tmp_path / "out.png", "--model", model, "--steps", "1")
    refused(seesr(*command), "NaN")
    weights.write_bytes(weights.read_bytes()[:10_000])
    refused(seesr(*command), "cannot be loaded")
    weights.unlink()
    refused(seesr(*command), "cannot be loaded")
    (model / "model_index.json").write_text("{")
    refused(seesr(*command), "cannot be loaded")
    assert not (tmp_path / "out.png").exists()


def test_as_a_program(tmp_path: Path) -> None:
    """In a process of its own: exit code, one line, and the traceback only with --debug."""
    command = [
        sys.executable,
        "-m",
        "seesr.apps.cli",
        "upscale",
        str(tmp_path / "no.png"),
        "-o",
        str(tmp_path / "o.png"),
    ]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert plain.stderr == f"seesr: {tmp_path / 'no.png'}: no such file or folder\n"
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert "Traceback" in debug.stderr


def test_model_folder_survives_a_round_trip(tiny: Reference, tmp_path: Path) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    pipeline.save_pretrained(tmp_path / "copy")
    assert json.loads((tmp_path / "copy/model_index.json").read_text())["unet"] == ["seesr", "SemanticUNet"]
    again = SeeSRPipeline.from_pretrained(str(tmp_path / "copy"))
    photo = Image.open(tiny.files / "input.png")
    settings = {"profile": "paper", "num_inference_steps": 1, "process_size": 64, "output_type": "pt"}
    assert torch.equal(pipeline(photo, **settings).images[0], again(photo, **settings).images[0])


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err
