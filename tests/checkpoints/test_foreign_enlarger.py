"""Networks of other projects as enlargers: files read without running them, any scale, tiles, memory, the command."""

import io
import pickle
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel_standin import RepeatsPixels, install_spandrel
from torch import nn

from seesr.apps.estimates import estimate
from seesr.apps.web import command as web
from seesr.checkpoints.foreign import load_foreign_enlarger
from seesr.checkpoints.registry import resolve
from seesr.errors import SeesrError
from seesr.loading import load_restorer
from seesr.models.foreign_enlarger import ForeignEnlarger
from seesr.pipeline import SeeSRPipeline
from seesr.restoration.needs import Needs
from seesr.restoration.profiles import ENLARGER_ONLY

CPU = torch.device("cpu")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A checkpoint that the stand-in of spandrel reads as a network."""

    def make(network: Any, name: str = "network.pth") -> Path:
        install_spandrel(monkeypatch, {"weight": network})
        torch.save({"params_ema": {"weight": torch.zeros(1)}}, tmp_path / name)
        return tmp_path / name

    return make


def photo(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 90).convert("RGB")


# ------------------------------------------------------------------------------------------------------------- files


class Program:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
def test_a_program_in_a_pickle_is_not_run(write: Callable[..., Any], suffix: str, tmp_path: Path) -> None:
    proof, evil = tmp_path / "proof", tmp_path / f"evil{suffix}"
    write({"params": Program(proof)}, evil)
    with pytest.raises(SeesrError, match=r"evil\.\w+: holds more than numbers.*none of it was run"):
        load_foreign_enlarger(evil)
    assert not proof.exists()


def test_files_that_cannot_be_used_are_told_in_a_line(
    file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {
        "enlarges 16 times; give a network of 1 to 8 times": RepeatsPixels(16),
        "is for faces alone": RepeatsPixels(1, purpose="FaceSR"),
        "is no network from colour picture to colour picture": SimpleNamespace(scale=1),
    }
    for match, network in refused.items():
        with pytest.raises(SeesrError, match=f"network.pth: {match}"):
            load_foreign_enlarger(file(network))
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    torch.jit.save(torch.jit.script(nn.Identity()), tmp_path / "script.pt")  # type: ignore[no-untyped-call]
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    told = {
        "other.pth": "holds no architecture",
        "script.pt": "is a TorchScript program",
        "cut.safetensors": "not a readable checkpoint",
        "none.pth": "no such file",
    }
    for name, match in told.items():
        with pytest.raises(SeesrError, match=f"{name}: {match}"):
            load_foreign_enlarger(tmp_path / name)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(SeesrError, match=r"needs spandrel and torchvision .*pip install 'seesr\[spandrel\]'"):
        load_foreign_enlarger(tmp_path / "network.pth")


# ------------------------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_results_of_any_scale_come_to_the_size_asked_for(scale: int, file: Callable[..., Path]) -> None:
    restorer = load_restorer("mini", torch.float32, CPU, enlarger=file(RepeatsPixels(scale)))
    image = photo(30, 20)
    for wanted, size in {4.0: (120, 80), float(scale): (30 * scale, 20 * scale), 1.5: (45, 30)}.items():
        restored = restorer(image, scale=wanted).images[0]
        assert restored.size == size
        own = image.resize((30 * scale, 20 * scale), Image.Resampling.NEAREST)
        expected = own.resize(size, Image.Resampling.BICUBIC)
        difference = torch.tensor([a - b for a, b in zip(restored.tobytes(), expected.tobytes())]).abs().max()
        assert difference <= 1


def test_tiles_and_memory_follow_the_network(file: Callable[..., Path]) -> None:
    x = torch.rand(1, 3, 50, 70)
    cut, whole = (load_foreign_enlarger(file(RepeatsPixels(2, tiling))) for tiling in ("SUPPORTED", "INTERNAL"))
    torch.testing.assert_close(cut.enlarge(x, tile=32, overlap=8), whole.enlarge(x, tile=32))
    assert {size[-2:] for size in cut.found.sizes} == {(29, 29)}  # six of them fit 50x70 best
    assert whole.found.sizes == [(1, 3, 50, 70)]
    none = dict.fromkeys(("vae", "unet", "controlnet", "tagger"))
    by_tiles, at_once = (
        Needs(SimpleNamespace(enlarger=network, **none), (400, 300), 4, ENLARGER_ONLY).enlarger(128)
        for network in (cut, whole)
    )
    assert at_once > 3 * by_tiles > 0


def test_number_formats_that_it_cannot_work_in_are_left(file: Callable[..., Path]) -> None:
    assert load_foreign_enlarger(file(RepeatsPixels(2)), torch.bfloat16).dtype == torch.bfloat16
    assert load_foreign_enlarger(file(RepeatsPixels(2)), torch.float16).dtype == torch.float32


def test_the_pipeline_and_estimates_take_it(file: Callable[..., Path], tmp_path: Path) -> None:
    path = file(RepeatsPixels(2))
    pipeline = SeeSRPipeline.from_pretrained("mini", enlarger=path)
    assert isinstance(pipeline.enlarger, ForeignEnlarger)
    restored = pipeline(photo(16, 16), profile="diffusion", num_inference_steps=1, scale=2)
    assert restored.images[0].size == (32, 32)
    with pytest.raises(SeesrError, match=r"network\.pth cannot be saved with the model"):
        pipeline.save_pretrained(tmp_path / "saved")
    network = RepeatsPixels(2)
    needs = estimate(resolve("mini"), (400, 200), 4, torch.float32, enlarger=file(network))
    assert needs.enlarger_tiles == 2
    assert [stage.operations for stage in needs.stages if stage.name == "enlarge"] == [2 * 2 * 9 * 240 * 200]


def test_the_command_takes_it_and_knows_results_by_it(
    seesr: Callable[..., Any], file: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out, path = tmp_path / "in", tmp_path / "out", file(RepeatsPixels(2))
    folder.mkdir()
    for name in "ab":
        photo(12, 8).save(folder / f"{name}.png")
    done = seesr("upscale", folder, "-o", out, "--enlarger", path)
    assert done.code == 0, done.err
    assert Image.open(out / "a.png").size == (48, 32)
    assert "done already" in seesr("upscale", folder, "-o", out, "--enlarger", path).err
    other = seesr("upscale", folder, "-o", out)
    assert other.code == 2
    assert "enlarger: network.pth" in other.err
    dry = seesr("upscale", folder, "-o", tmp_path / "new", "--enlarger", path, "--dry-run")
    assert dry.code == 0
    missing = seesr("upscale", folder, "-o", tmp_path / "new", "--enlarger", tmp_path / "none.pth")
    assert missing.code == 2
    assert missing.err.count("\n") == 1


def test_the_web_server_takes_it(
    seesr: Callable[..., Any], file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    network, image, content = RepeatsPixels(4), photo(12, 8), io.BytesIO()
    image.save(content, "PNG")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    answers: list[httpx.Response] = []

    def while_it_serves(seconds: float) -> None:
        settings = httpx.get(f"{address}/v1/settings")
        answers.extend([settings, httpx.post(f"{address}/v1/restore", files={"photo": content.getvalue()}, timeout=60)])
        raise KeyboardInterrupt

    monkeypatch.setattr(web, "time", SimpleNamespace(sleep=while_it_serves))
    done = seesr("web", "--enlarger", file(network), "--port", port, "--no-browser")
    assert done.code == 0, done.err
    settings, restored = answers
    assert not {"engine", "detail"} & settings.json()["fields"].keys()  # dials of the model's own enlargers
    expected = image.resize((48, 32), Image.Resampling.NEAREST)
    assert Image.open(io.BytesIO(restored.content)).convert("RGB").tobytes() == expected.tobytes()
    assert network.sizes
    missing = seesr("web", "--enlarger", "none.pth", "--port", port, "--no-browser")
    assert (missing.code, missing.err.count("\n")) == (2, 1)


# ------------------------------------------------------------------------------------------------------ real networks


def test_real_architectures(tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel", exc_type=Exception)
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.SwinIR import SwinIR

    assert spandrel.ModelLoader
    made: dict[str, tuple[nn.Module, int]] = {
        f"compact{k}.pth": (Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=k), k) for k in (1, 2, 4)
    }
    made["esrgan.safetensors"] = ESRGAN(num_filters=8, num_blocks=1, scale=2), 2
    sizes = {"img_size": 16, "depths": [2], "embed_dim": 12, "num_heads": [2], "window_size": 8}
    made["swinir.pth"] = SwinIR(**sizes, upscale=2, upsampler="pixelshuffle"), 2
    for name, (network, scale) in made.items():
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        path = tmp_path / name
        if path.suffix == ".pth":
            torch.save({"params": tensors}, path)
        else:
            save_file(tensors, path)
        restorer = load_restorer("mini", torch.float32, CPU, enlarger=path)
        enlarger = restorer.enlarger
        assert enlarger is not None
        assert enlarger.scale == scale
        assert restorer(photo(21, 13), scale=4).images[0].size == (84, 52)
        x = torch.rand(1, 3, 16, 16)  # of a size that none of them pads
        with torch.no_grad():
            torch.testing.assert_close(enlarger.enlarge(x), network.eval()(x).clamp(0, 1))
        assert Needs(restorer, (21, 13), 4, ENLARGER_ONLY).enlarger(256) > 0
