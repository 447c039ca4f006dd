"""Presets `web` and `phone`: what they draw, and what their noise and blocks look like in figures."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seesr.degradation import apply, draw, preset
from seesr.degradation.jpeg import jpeg_pillow
from seesr.degradation.plan import DegradationPlan
from seesr.degradation.presets import SensorNoise
from seesr.degradation.sensor import SensorPlan, add_sensor_noise, demosaic, finish, mosaic, to_raw, to_srgb
from seesr.degradation.strength import soften
from seesr.errors import SeesrError

PLAIN = SensorPlan(
    shot=1e-3, read=1e-5, red=2.0, blue=1.7, saturation=0.5, tone=0.5, chroma=0, luma=0, sharpening=0, radius=1, seed=3
)


def grey(level: float, size: int = 128) -> Tensor:
    return torch.full((3, size, size), level)


def noise_of(level: float, plan: SensorPlan) -> Tensor:
    """(3, H, W): what the sensor adds to a grey picture."""
    noise = add_sensor_noise(grey(level), plan)
    return noise - noise.mean((1, 2), keepdim=True)


def correlation(a: Tensor, b: Tensor) -> float:
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt())


def ramps(size: int = 64) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0.1, 0.8, size), torch.linspace(0.1, 0.8, size), indexing="ij")
    return torch.stack([x, 0.5 * (x + y), y])


# ---- the sensor


def test_light_to_the_sensor_and_back_is_the_same_picture() -> None:
    picture = 0.5 + 0.4 * (ramps() - 0.45)  # colours that the matrix does not push out of range
    torch.testing.assert_close(to_srgb(to_raw(picture, PLAIN), PLAIN), picture, atol=2e-3, rtol=0)
    assert to_srgb(to_raw(grey(1.0), PLAIN), PLAIN).min() > 0.99  # white stays white


def test_demosaicing_is_exact_on_ramps_and_keeps_what_was_measured() -> None:
    picture = ramps()
    torch.testing.assert_close(demosaic(mosaic(picture))[:, 4:-4, 4:-4], picture[:, 4:-4, 4:-4], atol=1e-4, rtol=0)
    raw = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mosaic(demosaic(raw)), raw)


def test_without_noise_little_changes() -> None:
    silent = replace(PLAIN, shot=0.0, read=0.0)
    picture = 0.5 + 0.4 * (ramps() - 0.45)
    assert (add_sensor_noise(picture, silent) - picture).abs().max() < 0.01
    assert add_sensor_noise(picture[:, :33, :47], PLAIN).shape == (3, 33, 47)


def test_raw_noise_has_the_variance_of_shot_and_read() -> None:
    """A picture with no gains, matrix, tone curve or smoothing: at sensor pixels the noise is the sensor's own."""
    bare = replace(PLAIN, red=1, blue=1, saturation=0, tone=0)
    for level in (0.2, 0.7):
        linear = float(to_raw(grey(level, 2), bare)[1, 0, 0])
        made = to_raw(add_sensor_noise(grey(level, 256), bare), bare)[1, 0::2, 1::2]  # green, as measured
        assert float(made.var()) == pytest.approx(bare.shot * linear + bare.read, rel=0.06)


def test_noise_is_stronger_in_the_dark() -> None:
    dark, bright = (float(noise_of(level, PLAIN).std()) for level in (0.25, 0.8))
    assert dark > 1.25 * bright


def test_noise_is_coloured_and_neighbours_are_alike() -> None:
    noise = noise_of(0.5, PLAIN)
    assert noise[0].std() > 1.2 * noise[1].std() < noise[2].std()  # green has no gain and twice the pixels
    independent = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(1))
    along = [correlation(n[0, :, 1:], n[0, :, :-1]) for n in (noise, independent)]
    assert along[0] > 0.25 > 0.05 > abs(along[1])


def test_smoothing_takes_colour_from_noise_and_makes_it_coarse() -> None:
    rough, smooth = noise_of(0.5, PLAIN), noise_of(0.5, replace(PLAIN, chroma=2.5))
    colour = [n - n.mean(0, keepdim=True) for n in (rough, smooth)]
    assert colour[1].std() < 0.4 * colour[0].std()
    assert correlation(colour[1][0, :, 2:], colour[1][0, :, :-2]) > 0.7
    assert finish(grey(0.4, 8), replace(PLAIN, chroma=2.5, sharpening=1)).sub(0.4).abs().max() < 1e-5


def test_sharpening_makes_noise_stronger() -> None:
    assert noise_of(0.5, replace(PLAIN, sharpening=1.0)).std() > 1.3 * noise_of(0.5, PLAIN).std()


# ---- what the presets draw


@pytest.fixture(scope="module")
def plans() -> dict[str, list[DegradationPlan]]:
    return {name: [draw(preset(name), seed, 512, 512) for seed in range(2000)] for name in ("web", "phone")}


def test_web_photos_are_saved_once_or_twice(plans: dict[str, list[DegradationPlan]]) -> None:
    twice = sum(plan.first.quality is not None for plan in plans["web"] if plan.first)
    assert 900 < twice < 1100
    qualities = [plan.second.quality for plan in plans["web"]]
    assert sorted(set(qualities)) == list(range(30, 96))
    assert all(plan.jpeg_last and plan.sinc is None for plan in plans["web"])
    grids = Counter(plan.second.grid for plan in plans["web"])
    assert {row for row, _ in grids} == {column for _, column in grids} == set(range(16))
    same_size = sum(plan.first.size == (128, 128) for plan in plans["web"] if plan.first)
    assert 900 < same_size < 1100  # the others are resized between


def test_a_phones_noise_is_a_sensors(plans: dict[str, list[DegradationPlan]]) -> None:
    noises = [plan.second.noise for plan in plans["phone"]]
    assert all(isinstance(noise, SensorPlan) and 5e-5 <= noise.shot <= 3e-3 for noise in noises)
    below = sum(noise.shot < (5e-5 * 3e-3) ** 0.5 for noise in noises if isinstance(noise, SensorPlan))
    assert 900 < below < 1100  # uniform in the logarithm
    with pytest.raises(SeesrError, match="above it"):
        SensorNoise(shot=(0.0, 1e-3))


def test_blocks_begin_where_the_plan_says() -> None:
    plan = draw(preset("web"), 1, 256, 256)
    assert plan.first is not None
    bare = replace(plan, first=replace(plan.first, kernel=None, quality=None, size=(64, 64)))
    picture = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    small = (apply(replace(bare, second=replace(plan.second, quality=None)), picture)[0] * 255).round() / 255
    for grid in ((0, 0), (5, 11)):
        made, _ = apply(replace(bare, second=replace(plan.second, quality=30, grid=grid)), picture)
        padded = torch.nn.functional.pad(small[None], (grid[1], 0, grid[0], 0), mode="replicate")[0]
        torch.testing.assert_close(made, jpeg_pillow(padded, 30)[:, grid[0] :, grid[1] :], atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["web", "phone"])
def test_half_the_strength_is_half_the_harm(name: str) -> None:
    picture = torch.nn.functional.interpolate(ramps()[None], size=(256, 256), mode="bilinear")[0]
    clean = apply(soften(draw(preset(name), 4, 256, 256), 0, 256, 256), picture)[0]
    half, full = (apply(soften(draw(preset(name), 4, 256, 256), s, 256, 256), picture)[0] for s in (0.4, 1.0))
    assert 0 < (half - clean).square().mean() < (full - clean).square().mean()
