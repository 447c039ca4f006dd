"""`seesr doctor`: it sees what is whole and what is not, says what to do, and its exit code can be relied on."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import Outcome, Reference
from seesr import devices
from seesr.apps import estimates
from seesr.apps.doctor import examine
from seesr.apps.doctor.machine import EXTRAS
from seesr.apps.doctor.models import check_model
from seesr.apps.doctor.report import duration, show, time_span
from seesr.checkpoints.registry import RECORD
from seesr.checkpoints.transfer import sha256_of
from seesr.errors import SeesrError
from seesr.restoration.estimate import Estimate
from seesr.restoration.live_bytes import LiveBytes

estimate_once = functools.cache(estimates.estimate)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEESR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(estimates, "estimate", estimate_once)  # the same photo and model take seconds every time
    return tmp_path / "cache"


PARAMETERS, TAGGER = 2.25e9, 0.21e9
"""Of the paper's model: UNet 1.13 G, ControlNet 0.49, text tower 0.34, VAE and tagger 0.29; and of the tagger."""


def test_report_fits_80_columns_and_names_what_to_do(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "small.png")
    outcome = seesr("doctor", tmp_path / "small.png")
    assert outcome.code == 0, outcome.out
    assert all(len(line.rstrip()) <= 80 for line in outcome.out.splitlines())
    for words in ("60 x 40 → 240 x 160", "seesr download sd2", "mini can be used", "--dtype auto", "about"):
        assert words in outcome.out


def test_for_machines(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "small.png")
    outcome = seesr("doctor", tmp_path / "small.png", "--scale", 2, "--json")
    report = json.loads(outcome.out)
    assert report["usable"] is True
    assert (report["photo"]["result_width"], report["photo"]["result_height"]) == (120, 80)
    assert report["photo"]["estimated_seconds"] >= 0
    assert {finding["state"] for finding in report["findings"]} <= {"ok", "absent"}
    assert all(finding["remedy"] for finding in report["findings"] if finding["name"] == "sd2")


def test_a_model_that_is_not_here_is_a_problem_only_if_wanted(
    seesr: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seesr("doctor").code == 0
    found: list[Estimate] = []
    count = estimates.estimate_published
    monkeypatch.setattr(estimates, "estimate_published", lambda *known: found.append(count(*known)) or found[-1])
    Image.new("RGB", (128, 128)).save(tmp_path / "small.png")
    outcome = seesr("doctor", tmp_path / "small.png", "--model", "sd2")
    assert outcome.code == 1
    assert "profile paper: 50 steps of 1 tile" in outcome.out  # what it would take is told before 14 GB are fetched
    assert "seesr download sd2" in outcome.out
    assert "1 problem to mend" in outcome.out
    dtype = devices.choose_dtype("auto", devices.choose_device())
    expected = (PARAMETERS - TAGGER) * dtype.itemsize + TAGGER * 4  # which stays in float32
    assert found[0].weights == pytest.approx(expected, rel=0.01)
    assert seesr("doctor", "--model", "nowhere").code == 1


@pytest.fixture
def model(tiny: Reference, tmp_path: Path) -> Path:
    """A copy of the tiny model with the record of a built one."""
    folder = tmp_path / "model"
    shutil.copytree(tiny.model, folder)
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in folder.rglob("*")
        if path.is_file()
    }
    (folder / RECORD).write_text(json.dumps({"files": files}))
    return folder


def test_whole_model(model: Path) -> None:
    size, kind = check_model(model, verify=True)
    assert kind == "complete"
    assert size == sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    (model / RECORD).unlink()
    assert check_model(model, verify=True)[1] == "complete"


def cut(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])


def drop_tensor(weights: Path) -> None:
    tensors = load_file(weights)
    del tensors["conv_in.weight"]
    save_file(tensors, weights)


def reshape(weights: Path) -> None:
    tensors = load_file(weights)
    save_file(tensors | {"conv_in.bias": torch.zeros(3)}, weights)


@pytest.mark.parametrize(
    ("damage", "words"),
    [(Path.unlink, "holds none of"), (cut, "cut short"), (drop_tensor, "conv_in.weight"), (reshape, "conv_in.bias")],
)
def test_damage_is_seen_without_reading_all(model: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(model / "unet/diffusion_pytorch_model.safetensors")
    with pytest.raises(SeesrError, match=words) as caught:
        check_model(model)
    assert "unet" in str(caught.value)


def test_changed_numbers_are_seen_with_verify(model: Path) -> None:
    weights = model / "unet/diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 64
    weights.write_bytes(content)
    check_model(model)
    with pytest.raises(SeesrError, match="not the bytes"):
        check_model(model, verify=True)
    tensors = load_file(weights)
    save_file({name: torch.full_like(t, torch.nan) for name, t in tensors.items()}, weights)
    (model / RECORD).unlink()
    with pytest.raises(SeesrError, match="NaN"):
        check_model(model, verify=True)


def test_too_little_memory_for_the_photo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "small.png")
    few = SimpleNamespace(available=10_000_000, total=8_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: few)
    monkeypatch.setattr("seesr.devices.choose_device", lambda name="auto": torch.device("cpu"))
    report = examine("mini", tmp_path / "small.png")
    problems = [finding for finding in report.findings if finding.state == "problem"]
    assert [(finding.name, bool(finding.remedy)) for finding in problems] == [("memory", True)]
    assert not report.usable


def test_unreadable_photo_and_old_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    report = examine("mini", tmp_path / "broken.jpg")
    assert [finding.name for finding in report.findings if finding.state == "problem"] == ["broken.jpg"]
    monkeypatch.setattr(
        "seesr.apps.doctor.machine.requires", lambda name: ["torch>=99", "no-such-package", "x; extra == 'y'"]
    )
    report = examine("mini")
    show(report, "mini")
    out = capsys.readouterr().out
    assert "pip install -U 'torch>=99'" in out
    assert "pip install 'no-such-package'" in out
    assert "2 problems to mend" in out


def test_extras_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "seesr.apps.doctor.machine.requires",
        lambda name: ["typer", "pillow; extra == 'train'", "no-such; extra == 'new'", "ruff; extra == 'dev'"],
    )
    extras = {f.name: (f.state, f.text, f.remedy) for f in examine("mini").findings if f.section == "Extras"}
    assert extras == {
        "train": ("ok", EXTRAS["train"], ""),
        "new": ("absent", "no-such; lacks no-such", "pip install 'seesr[new]'"),
    }


# ---------------------------------------------------------------------------------------------------- estimates


def test_dry_run_counts_what_is_known(tiny: Reference) -> None:
    """A convolution's operations and bytes; the enlarger-free tiny model's stages; work grows with tiles and steps."""
    conv = torch.nn.Conv2d(3, 8, 3, padding=1, device="meta")
    with torch.inference_mode(), LiveBytes() as memory:
        kept = conv(torch.zeros(1, 3, 16, 16, device="meta"))
        del kept
        conv(torch.zeros(1, 3, 16, 16, device="meta"))
    assert memory.peak == (3 + 8) * 16 * 16 * 4
    assert memory.live == 0

    small, large = (estimates.estimate(tiny.model, (side, side), 4, torch.float32) for side in (128, 256))
    assert [stage.name for stage in small.stages] == ["tags", "prompt", "encode", "condition", "denoise", "decode"]
    assert small.weights == sum(p.numel() * 4 for part in stored(tiny.model) for p in part.values())
    assert (small.tiles, large.tiles) == (1, 4)
    cost = {stage.name: stage.operations for stage in large.stages}
    assert cost["denoise"] > 4 * next(stage.operations for stage in small.stages if stage.name == "denoise")
    assert large.memory > small.memory

    # its four tiles of 96 latents overlap by 4: a region in the corner has only the first predicted once more
    region = {"regions": ["0,0,0.2,0.2: fur"]}
    more = estimate_once.__wrapped__(tiny.model, (256, 256), 4, torch.float32, given=region)
    operations = next(stage.operations for stage in more.stages if stage.name == "denoise")
    assert operations == pytest.approx(5 / 4 * cost["denoise"])
    # with features used again every other step costs less
    again = estimate_once.__wrapped__(tiny.model, (256, 256), 4, torch.float32, given={"reuse": 2})
    operations = next(stage.operations for stage in again.stages if stage.name == "denoise")
    assert 0.55 * cost["denoise"] < operations < 0.9 * cost["denoise"]
    half = estimate_once.__wrapped__(tiny.model, (128, 128), 4, torch.bfloat16, given={"num_inference_steps": 0})
    tagger = sum(p.numel() for p in stored(tiny.model)[0].values())
    assert half.weights == tagger * 4  # alone, in float32
    half = estimate_once.__wrapped__(tiny.model, (128, 128), 4, torch.bfloat16)
    assert half.weights * 2 == small.weights + tagger * 4


@pytest.mark.slow
def test_the_variant_of_two_steps_is_known_by_its_sizes() -> None:
    needs = estimates.estimate_published(True, (128, 128), 4, torch.bfloat16)
    assert needs.weights == pytest.approx((PARAMETERS + TAGGER) * 2, rel=0.01)
    assert (needs.steps, needs.tiles) == (2, 1)


def stored(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [
        load_file(file)
        for part in ("tagger", "text_encoder", "vae", "controlnet", "unet")
        for file in (folder / part).glob("*.safetensors")
    ]


def test_operations_are_those_of_the_real_run(tiny: Reference) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from seesr import SeeSRPipeline

    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)  # the counter's hooks do not work in inference mode otherwise
    small = {"num_inference_steps": 2, "process_size": 128, "latent_tile_size": 24}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # it does not know the CPU's kernel
        pipeline(Image.new("RGB", (80, 64)), scale=4, **small)
    real = counter.get_total_flops()
    settings = pipeline.profile().with_overrides(**small)
    index = json.loads((tiny.model / "model_index.json").read_text())
    folder = tiny.model.parent / "other-settings"
    shutil.copytree(tiny.model, folder, dirs_exist_ok=True)
    index["profiles"]["short"], index["default_profile"] = settings.to_dict(), "short"
    (folder / "model_index.json").write_text(json.dumps(index))
    assert estimates.estimate(folder, (80, 64), 4, torch.float32).operations == pytest.approx(real, rel=0.12)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (42, "42 s"), (200, "3 min"), (7200, "2 h 0 min"), (8000, "2 h 13 min")]
)
def test_times_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("span", "words"),
    [((2, 5), "2 to 5 s"), ((40, 200), "40 s to 3 min"), ((100, 110), "2 min"), ((5000, 8000), "83 min to 2 h 13 min")],
)
def test_spans_for_people(span: tuple[float, float], words: str) -> None:
    assert time_span(*span) == words


@pytest.mark.parametrize("rate", [1.0, 1e7, 1e30, float("inf")])
def test_an_absurd_probe_does_not_decide_the_estimate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rate: float
) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "small.png")
    monkeypatch.setattr(devices, "probe_cpu", lambda: devices.CpuProbe({torch.float32: rate, torch.bfloat16: rate}))
    monkeypatch.setattr("seesr.devices.choose_device", lambda name="auto": torch.device("cpu"))
    report = examine("mini", tmp_path / "small.png")
    least, most = report.photo["estimated_seconds_least"], report.photo["estimated_seconds_most"]
    work = report.photo["operations"]
    fastest = work / devices.highest_rate(torch.bfloat16)
    assert fastest <= least + 0.1 <= most + 0.1 <= 0.1 + 40 * work / devices.highest_rate(torch.float32)
    assert any("machine is busy" in finding.text for finding in report.findings if finding.name == "time")
