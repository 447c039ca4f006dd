"""Models loaded in part: the same results as from the whole, and the same refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Reference
from seesr import SeesrError, SeeSRPipeline
from seesr.checkpoints.meta import meta_networks
from seesr.loading import LightRestorer, load_restorer, load_tagger
from seesr.models.enlarger import Enlarger

CPU = torch.device("cpu")


def test_a_part_of_the_model_does_what_the_whole_does(tiny: Reference, tmp_path: Path) -> None:
    whole = SeeSRPipeline.from_pretrained(str(tiny.model))
    whole.register_modules(enlarger=Enlarger(num_blocks=1, channels=8, growth=4).eval())
    whole.save_pretrained(tmp_path / "model")
    name, photo = str(tmp_path / "model"), Image.open(tiny.files / "input.png").convert("RGB")

    light = load_restorer(name, torch.float32, CPU, steps=0)
    assert isinstance(light, LightRestorer)
    assert light.profile("fast") == whole.profile("fast")  # that of a model with a diffusion part
    ours, theirs = (model(photo, num_inference_steps=0, process_size=64) for model in (light, whole))
    np.testing.assert_array_equal(np.asarray(ours.images[0]), np.asarray(theirs.images[0]))
    assert ours.tags == theirs.tags

    tagger = load_tagger(name, torch.float32, CPU)
    assert tagger.enlarger is None
    assert tagger.see(photo)[0] == whole.see(photo)[0]

    assert isinstance(load_restorer(name, torch.float32, CPU, profile="paper"), SeeSRPipeline)
    assert isinstance(load_restorer(name, torch.float32, CPU, profile="paper", steps=0), LightRestorer)
    with pytest.raises(SeesrError, match="no profile 'best'"):
        load_restorer(name, torch.float32, CPU, profile="best")


def test_the_full_size_tagger_stays_in_float32(tiny: Reference) -> None:
    photo = Image.open(tiny.files / "input.png").convert("RGB")
    name = str(tiny.model)
    whole = SeeSRPipeline.from_pretrained(name, dtype="bf16")
    light = load_restorer(name, torch.bfloat16, CPU, steps=0)
    fine = load_tagger(name, torch.float32, CPU)
    assert whole.unet.dtype == whole.text_encoder.dtype == torch.bfloat16
    assert [model.tagger.dtype for model in (whole, light)] == [torch.float32] * 2
    for model in (whole, light):
        assert torch.equal(model.see(photo)[1], fine.see(photo)[1])
    assert {each.dtype for each in meta_networks(tiny.model, torch.bfloat16).values()} == {
        torch.float32,
        torch.bfloat16,
    }


def test_damaged_parts_are_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"enlarger": ["seesr", "Enlarger"], "default_profile": "fast"}')
    Enlarger(num_blocks=1, channels=8, growth=4).save_pretrained(tmp_path / "enlarger")
    config = (tmp_path / "enlarger" / "config.json").read_text()
    load_restorer(str(tmp_path), torch.float32, CPU)
    for spoiled in ("", "{}", config.replace("growth", "grwth"), config.replace('"growth": 4', '"growth": 5')):
        (tmp_path / "enlarger" / "config.json").write_text(spoiled)
        with pytest.raises(SeesrError, match="the model cannot be loaded") as caught:
            load_restorer(str(tmp_path), torch.float32, CPU)
        assert "\n" not in str(caught.value)
    (tmp_path / "model_index.json").write_text('{"enlarger": ["seesr", "os"], "default_profile": "fast"}')
    with pytest.raises(SeesrError, match="the model cannot be loaded"):
        load_restorer(str(tmp_path), torch.float32, CPU)
