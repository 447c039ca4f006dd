"""`seesr export onnx`: graphs for any size that give what the networks give, and nothing where they cannot."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from taggers import save_small_ram
from torch import Tensor, nn

from conftest import Outcome, Reference
from seesr.checkpoints.model_folder import write_model
from seesr.export import onnx_folder
from seesr.models.conv_tagger import ConvTagger
from seesr.models.enlarger import Enlarger
from seesr.models.tagger import Tagger

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[2]


def random(network: Any) -> Any:
    """Weights large enough for the output to depend on the picture, DAPE's factors included."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=1.2 / parameter[0].numel() ** 0.5)
    return network.eval()


def write(folder: Path, **networks: Any) -> Path:
    write_model(folder, networks, {}, "fast")
    return folder


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    tagger = ConvTagger(
        tags=["a", "b", "a or b", "sky"],
        thresholds=[0.5, 0.6, 0.7, 0.8],
        classes=[[0], [1], [0, 1], []],
        num_classes=4,
        image_size=32,
        stem_channels=4,
        channels=[4, 4, 4, 8, 8, 8, 8],
        repeats=[1, 1, 1, 1, 1, 1, 1],
        head_channels=16,
        image_embed_dim=8,
        lora_rank=2,
    )
    enlarger = Enlarger(num_blocks=1, channels=8, growth=4, anchor=4)
    quick = Enlarger(num_blocks=1, channels=4, growth=4)
    return write(tmp_path / "small", tagger=random(tagger), enlarger=random(enlarger), quick=random(quick))


def run(file: Path, image: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(found) for found in session.run(None, {"image": image.numpy()})]


def metadata(file: Path) -> Mapping[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def compare_tagger(file: Path, network: Any, image: Tensor) -> None:
    with torch.no_grad():
        wanted = network(network.preprocess(image))
    logits, image_embeds = run(file, image)
    assert wanted.logits.std() > 0.05
    torch.testing.assert_close(logits, wanted.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(image_embeds, wanted.image_embeds, rtol=1e-4, atol=1e-4)


def test_graphs_give_what_the_networks_give(seesr: Callable[..., Outcome], small_model: Path, tmp_path: Path) -> None:
    outcome = seesr("export", "onnx", small_model, "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("differs from PyTorch by") == 3
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["enlarger.onnx", "quick.onnx", "tagger.onnx", "tags.json"]

    for part in ("enlarger", "quick"):
        enlarger = Enlarger.from_pretrained(small_model / part)
        for shape in ((1, 3, 41, 67), (3, 3, 12, 9)):
            image = torch.rand(shape)
            (found,) = run(tmp_path / f"out/{part}.onnx", image)
            torch.testing.assert_close(found, enlarger.enlarge(image), rtol=0, atol=1e-5)
    told = metadata(tmp_path / "out/enlarger.onnx")
    assert (told["model"], told["part"], told["scale"], told["dtype"]) == ("small", "enlarger", "4", "float32")

    tagger = ConvTagger.from_pretrained(small_model / "tagger")
    for shape in ((1, 3, 100, 75), (2, 3, 20, 33)):  # made smaller, and larger
        compare_tagger(tmp_path / "out/tagger.onnx", tagger, torch.rand(shape))
    told = metadata(tmp_path / "out/tagger.onnx")
    assert json.loads(told["tags"]) == ["a", "b", "a or b", "sky"]
    rows = json.loads((tmp_path / "out/tags.json").read_text())["tags"]
    assert rows[2] == {"tag": "a or b", "threshold": 0.7}
    for file in (tmp_path / "out").iterdir():
        assert str(ROOT).encode() not in file.read_bytes(), "a file tells where the code lies"


@pytest.mark.slow
def test_half_precision_and_ram(seesr: Callable[..., Outcome], small_model: Path, tmp_path: Path) -> None:
    """The same in float16, with float32 at both ends; and RAM's kind of tagger."""
    outcome = seesr("export", "onnx", small_model, "-o", tmp_path / "half", "--part", "enlarger", "--dtype", "fp16")
    assert outcome.code == 0, outcome.err
    image = torch.rand(1, 3, 24, 31)
    (found,) = run(tmp_path / "half/enlarger.onnx", image)
    torch.testing.assert_close(
        found, Enlarger.from_pretrained(small_model / "enlarger").enlarge(image), rtol=0, atol=0.01
    )
    weights = onnx.load(tmp_path / "half/enlarger.onnx").graph.initializer
    assert onnx.TensorProto.FLOAT16 in {weight.data_type for weight in weights if len(weight.dims) == 4}

    save_small_ram(tmp_path / "ram")
    tagger = Tagger.from_pretrained(tmp_path / "ram").eval()
    outcome = seesr("export", "onnx", write(tmp_path / "model", tagger=tagger), "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    compare_tagger(tmp_path / "out/tagger.onnx", tagger, torch.rand(2, 3, 130, 70))


def test_what_cannot_be_written_is_not(
    seesr: Callable[..., Outcome],
    small_model: Path,
    tiny: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(words: str, *arguments: object) -> None:
        outcome = seesr("export", "onnx", *arguments, "-o", tmp_path / "out")
        assert outcome.code == 2
        assert words in outcome.err
        assert outcome.err.count("\n") == 1
        assert not (tmp_path / "out").exists()

    refused("has no enlarger; it has tagger", tiny.model, "--part", "enlarger")
    refused("float32 or float16", small_model, "--dtype", "bf16")
    refused("no model 'nothing'", "nothing")
    with monkeypatch.context() as patch:
        patch.setitem(onnx_folder.DTYPES, torch.float32, -1.0)
        refused("more than -1; nothing was written", small_model, "--part", "enlarger")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused("pip install 'seesr[export]'", small_model)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    monkeypatch.undo()
    assert "exists already" in seesr("export", "onnx", small_model, "-o", tmp_path / "out").err
