"""The degradation draws what Real-ESRGAN publishes, does what it draws, and depends on each sample's seed alone."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from torch import Tensor

from seesr.degradation import (
    PRESETS,
    Degradation,
    DegradationPlan,
    Kernel,
    apply,
    degrade_photo,
    draw,
    jpeg_pillow,
    jpeg_torch,
    preset,
    sharpen,
    sheet,
)
from seesr.degradation.kernels import blur
from seesr.degradation.noise import NoisePlan, add_noise, distinct_levels
from seesr.degradation.presets import Blur, Jpeg, Resize
from seesr.errors import SeesrError

DRAWS = 4000


def scene(height: int = 96, width: int = 128) -> Tensor:
    """(3, H, W): coloured waves of many frequencies with two hard edges, something like a photo."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    red = 0.5 + 0.4 * torch.sin(40 * x * x + 5 * y)
    green = 0.5 + 0.3 * torch.cos(30 * y * x) + 0.1 * torch.sin(90 * x)
    blue = 0.3 + 0.4 * y + 0.2 * (x > 0.5)
    image = torch.stack([red, green, blue])
    image[:, height // 3 : height // 2, width // 4 : width // 2] = 0.9
    return image.clamp(0, 1)


@pytest.fixture(scope="module")
def plans() -> list[DegradationPlan]:
    return [draw(preset("seesr"), seed, 512, 512) for seed in range(DRAWS)]


def assert_share(hits: int, total: int, probability: float) -> None:
    """The count is within 4 standard deviations of a binomial one (all seeds are fixed: no flakes)."""
    deviation = math.sqrt(total * probability * (1 - probability))
    assert abs(hits - total * probability) <= 4 * deviation, f"{hits} of {total}, published share {probability}"


def assert_uniform(values: list[float], low: float, high: float) -> None:
    assert low <= min(values)
    assert max(values) <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-4


# ---- what is drawn


def test_kernel_kinds_have_the_published_shares(plans: list[DegradationPlan]) -> None:
    published = {
        "iso": 0.45,
        "aniso": 0.25,
        "generalized_iso": 0.12,
        "generalized_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    for stage, probability in (("first", 1.0), ("second", 0.8)):
        kernels = [getattr(plan, stage).kernel for plan in plans]
        drawn = [kernel for kernel in kernels if kernel is not None]
        assert_share(len(drawn), DRAWS, probability)
        kinds = Counter(kernel.kind for kernel in drawn)
        assert_share(kinds["sinc"], len(drawn), 0.1)
        for kind, share in published.items():
            assert_share(kinds[kind], len(drawn), 0.9 * share)
        sizes = Counter(kernel.size for kernel in drawn)
        assert sorted(sizes) == [7, 9, 11, 13, 15, 17, 19, 21]
        for count in sizes.values():
            assert_share(count, len(drawn), 1 / 8)


def test_kernel_parameters_have_the_published_ranges(plans: list[DegradationPlan]) -> None:
    for stage, sigma in (("first", (0.2, 3.0)), ("second", (0.2, 1.5))):
        kernels = [kernel for plan in plans if (kernel := getattr(plan, stage).kernel)]
        shaped = [kernel for kernel in kernels if kernel.kind != "sinc"]
        assert_uniform([kernel.sigma[0] for kernel in shaped], *sigma)
        assert_uniform([kernel.sigma[1] for kernel in shaped if kernel.kind.endswith("aniso")], *sigma)
        assert_uniform([kernel.angle for kernel in shaped], -math.pi, math.pi)
        assert all((kernel.sigma[0] == kernel.sigma[1]) != kernel.kind.endswith("aniso") for kernel in shaped)
        assert_uniform([k.cutoff for k in kernels if k.kind == "sinc" and k.size < 13], math.pi / 3, math.pi)
        assert_uniform([k.cutoff for k in kernels if k.kind == "sinc" and k.size >= 13], math.pi / 5, math.pi)
        for family, low, high in (("generalized", 0.5, 4.0), ("plateau", 1.0, 2.0)):
            betas = [kernel.beta for kernel in shaped if kernel.kind.startswith(family)]
            assert_share(sum(beta > 1 for beta in betas), len(betas), 0.5)
            assert_uniform([beta for beta in betas if beta > 1], 1.0, high)
            assert min(betas) >= low
    finals = [plan.sinc for plan in plans if plan.sinc is not None]
    assert_share(len(finals), DRAWS, 0.8)
    assert_uniform([sinc.cutoff for sinc in finals], math.pi / 3, math.pi)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("seesr", ((0.15, 1.5), (1, 30), (0.05, 3), (30, 95)), ((0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95))),
        ("real-esrgan", ((0.15, 1.5), (1, 30), (0.05, 3), (30, 95)), ((0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95))),
        ("mild", ((0.3, 1.5), (1, 15), (0.05, 2), (60, 95)), ((0.6, 1.2), (1, 12), (0.05, 1), (60, 100))),
    ],
)
def test_sizes_noise_and_quality_have_the_published_ranges(name: str, first: tuple, second: tuple) -> None:
    side = 40_000  # big, so that whole pixels do not blur the factors
    plans = [draw(preset(name), seed, side, side) for seed in range(DRAWS)]
    assert {plan.usm for plan in plans} == {name == "seesr"}
    for stage, reference, (up, down), (factor, sigma, poisson, quality) in (
        ("first", side, (0.2, 0.7), first),
        ("second", side // 4, (0.3, 0.4), second),
    ):
        drawn = [getattr(plan, stage) for plan in plans]
        factors = [plan.size[0] / reference for plan in drawn]
        assert all(plan.size[0] == plan.size[1] for plan in drawn)
        assert_share(sum(f > 1 for f in factors), DRAWS, up)
        assert_share(sum(f < 1 for f in factors), DRAWS, down)
        assert_uniform([f for f in factors if f > 1], 1.0, factor[1])
        assert_uniform([f for f in factors if f < 1], factor[0] - 1e-4, 1.0)
        modes = Counter(plan.mode for plan in drawn)
        assert sorted(modes) == ["area", "bicubic", "bilinear"]
        for count in modes.values():
            assert_share(count, DRAWS, 1 / 3)
        gaussian = [plan.noise.strength for plan in drawn if plan.noise.kind == "gaussian"]
        assert_share(len(gaussian), DRAWS, 0.5)
        assert_uniform(gaussian, *sigma)
        assert_uniform([plan.noise.strength for plan in drawn if plan.noise.kind == "poisson"], *poisson)
        assert_share(sum(plan.noise.grey for plan in drawn), DRAWS, 0.4)
        qualities = Counter(plan.quality for plan in drawn)
        assert sorted(qualities) == list(range(quality[0], quality[1] + 1))
        assert stats.chisquare(list(qualities.values())).pvalue > 1e-4
    assert_share(sum(plan.jpeg_last for plan in plans), DRAWS, 0.5)
    assert {plan.size for plan in plans} == {(side // 4, side // 4)}


def test_camera_is_one_reduction_with_light_jpeg() -> None:
    plans = [draw(preset("camera"), seed, 512, 512) for seed in range(DRAWS)]
    assert all(plan.first is None and plan.sinc is None and plan.second.size == plan.size for plan in plans)
    assert {plan.second.mode for plan in plans} == {"area", "bicubic_antialias"}
    qualities = [plan.second.quality for plan in plans if plan.second.quality is not None]
    assert_share(len(qualities), DRAWS, 0.5)
    assert (min(qualities), max(qualities)) == (75, 98)


# ---- what it does to pixels


@pytest.mark.parametrize(
    "kernel",
    [
        Kernel("iso", 21, (2.0, 2.0)),
        Kernel("aniso", 21, (3.0, 1.2), angle=0.6),
        Kernel("generalized_aniso", 21, (2.5, 1.5), angle=-1.0, beta=1.0),
        Kernel("disc", 21, (2.2, 2.2)),
        Kernel("motion", 21, (3.0, 0.8), angle=2.0),
    ],
    ids=lambda kernel: kernel.kind,
)
def test_second_moments_are_the_covariance(kernel: Kernel) -> None:
    weights = kernel.weights().double()
    offsets = torch.arange(21.0, dtype=torch.float64) - 10
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    moments = torch.stack([(weights * x * x).sum(), (weights * x * y).sum(), (weights * y * y).sum()])
    c, s, (a, b) = math.cos(kernel.angle), math.sin(kernel.angle), (kernel.sigma[0] ** 2, kernel.sigma[1] ** 2)
    expected = torch.tensor([a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c], dtype=torch.float64)
    # 1/12 is the variance of a pixel, which the disc's coverage includes.
    assert torch.allclose(moments, expected, rtol=0.02, atol=0.1 if kernel.kind == "disc" else 0.02)


def test_every_kernel_sums_to_one_and_is_symmetric(plans: list[DegradationPlan]) -> None:
    for plan in plans[:300]:
        for kernel in (plan.first.kernel, plan.second.kernel, plan.sinc):
            if kernel is not None:
                weights = kernel.weights()
                assert weights.shape == (kernel.size, kernel.size)
                assert torch.isclose(weights.sum(), torch.tensor(1.0), atol=1e-5)
                assert torch.allclose(weights, weights.flip(0, 1), atol=1e-6)


def test_generalized_and_plateau_profiles() -> None:
    """On the axis at distance d: exp(-(d/s)^2b / 2) and 1 / (1 + (d/s)^2b), relative to the centre."""
    d, sigma, beta = torch.arange(8.0), 2.5, 1.7
    generalized = Kernel("generalized_iso", 21, (sigma, sigma), beta=beta).weights()[10, 10:18]
    plateau = Kernel("plateau_iso", 21, (sigma, sigma), beta=beta).weights()[10, 10:18]
    assert torch.allclose(generalized / generalized[0], torch.exp(-((d / sigma) ** (2 * beta)) / 2), atol=1e-5)
    assert torch.allclose(plateau / plateau[0], 1 / (1 + (d / sigma) ** (2 * beta)), atol=1e-5)


@pytest.mark.parametrize("cutoff", [math.pi / 3, math.pi / 2])
def test_sinc_passes_below_its_cutoff_and_stops_above(cutoff: float) -> None:
    response = torch.fft.fft2(Kernel("sinc", 21, cutoff=cutoff).weights(), s=(128, 128)).abs()
    w = torch.fft.fftfreq(128) * 2 * math.pi
    radius = torch.hypot(w[:, None], w[None])
    assert (response[radius < 0.75 * cutoff] - 1).abs().max() < 0.2
    assert response[(radius > 1.25 * cutoff) & (radius < math.pi)].max() < 0.2


def test_blur_keeps_flat_areas_to_the_border_and_shifts_nothing() -> None:
    flat = torch.full((3, 30, 24), 0.4)
    weights = Kernel("aniso", 21, (3.0, 1.0), angle=0.5).weights()
    assert torch.allclose(blur(flat, weights), flat, atol=1e-6)
    assert torch.allclose(blur(torch.full((3, 8, 8), 0.4), weights), flat[:, :8, :8], atol=1e-6)
    large = scene(500, 530)  # through the Fourier transform
    direct = F.conv2d(F.pad(large[:, None], (10,) * 4, mode="reflect"), weights[None, None])[:, 0]
    assert torch.allclose(blur(large, weights), direct, atol=1e-5)
    impulse = torch.zeros(3, 41, 41)
    impulse[1, 20, 20] = 1
    assert torch.allclose(blur(impulse, weights)[1, 10:31, 10:31], weights, atol=1e-6)


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_variance(grey: bool) -> None:
    noise = add_noise(torch.full((3, 200, 200), 0.5), NoisePlan("gaussian", 20.0, grey, None, seed=3)) - 0.5
    assert torch.allclose(noise.std((1, 2)) * 255, torch.full((3,), 20.0), rtol=0.02)
    correlation = torch.corrcoef(noise.flatten(1))[0, 1]
    assert torch.isclose(correlation, torch.tensor(float(grey)), atol=0.02)


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_variance_is_the_value_over_the_levels(grey: bool) -> None:
    """Left half .2, right half .6 of full scale: the variance is strength^2 x value / levels on each."""
    image = torch.cat([torch.full((3, 200, 100), 51 / 255), torch.full((3, 200, 100), 153 / 255)], dim=2)
    noise = add_noise(image, NoisePlan("poisson", 1.5, grey, 256, seed=3)) - image
    for half, value in ((noise[..., :100], 0.2), (noise[..., 100:], 0.6)):
        assert torch.allclose(half.var((1, 2)), torch.full((3,), 1.5**2 * value / 256), rtol=0.05)
        assert half.mean().abs() < 2e-3
    assert torch.isclose(torch.corrcoef(noise.flatten(1))[0, 1], torch.tensor(float(grey)), atol=0.03)


def test_published_poisson_levels_follow_the_image() -> None:
    assert distinct_levels(torch.tensor([7.0])) == 1
    assert distinct_levels(torch.arange(100.0)) == 128
    assert distinct_levels(torch.arange(128.0)) == 128
    ramp = (torch.arange(64.0).repeat_interleave(400) + 100).view(1, 160, 160).expand(3, -1, -1) / 255
    noise = add_noise(ramp, NoisePlan("poisson", 0.5, False, None, seed=0)) - ramp
    assert torch.isclose(noise.var(), 0.25 * ramp.mean() / 64, rtol=0.03)


def test_sharpening_lifts_edges_only() -> None:
    image = torch.full((3, 60, 80), 0.3)
    image[..., 40:] = 0.7
    gentle = 0.5 + 0.01 * scene(60, 80)  # contrast under the threshold of 10 grey levels
    assert torch.allclose(sharpen(gentle), gentle, atol=1e-6)
    sharp = sharpen(image)
    assert sharp[:, 30, 39].max() < 0.25
    assert sharp[:, 30, 40].min() > 0.75
    assert torch.allclose(sharp[..., :5], image[..., :5], atol=1e-4)


@pytest.mark.parametrize("quality", [10, 35, 60, 95])
def test_torch_jpeg_is_close_to_the_codec(quality: int) -> None:
    """Its error against the codec is at least 8 dB under the codec's own, at sizes that fill no whole block too."""
    image = scene(83, 121)
    codec, ours = jpeg_pillow(image, quality), jpeg_torch(image, quality)
    difference = (codec - ours).square().mean()
    assert -10 * torch.log10(difference) > 38
    assert difference < 0.16 * (codec - image).square().mean()


def test_torch_jpeg_has_a_useful_gradient() -> None:
    """A step against the gradient of the distance to the original brings the compressed image nearer."""
    target = scene(32, 48)
    image = jpeg_pillow(target, 40).requires_grad_()
    loss = (jpeg_torch(image, 90) - target).square().mean()
    loss.backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    stepped = image.detach() - image.numel() / 4 * image.grad  # half way, were the codec the identity
    assert (jpeg_torch(stepped, 90) - target).square().mean() < 0.9 * loss


# ---- the whole process


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_sample_depends_on_its_seed_alone(name: str) -> None:
    degrade = Degradation(preset(name))
    hr = torch.stack([scene(), scene().flip(2), scene().roll(1, 0), scene()])
    seeds = torch.tensor([11, 5, 2**40, 12])
    lr, target = degrade(hr, seeds)
    assert lr.shape == (4, 3, 24, 32)
    assert torch.equal(lr, (lr * 255).round() / 255)
    assert torch.equal(target, hr) == (name != "seesr")
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(degrade(hr[order], seeds[order])[0], lr[order])
    torch.rand(7)  # the global generator plays no part
    for i in range(4):
        alone, alone_target = degrade(hr[i : i + 1], seeds[i : i + 1])
        assert torch.equal(alone[0], lr[i])
        assert torch.equal(alone_target[0], target[i])
    assert torch.equal(lr[0], lr[3]) == (name == "bicubic")


def test_a_sample_does_not_depend_on_the_number_of_threads() -> None:
    """To the last bit, where it is hardest: one rounding more or less makes another picture of Poisson noise."""
    plans = [draw(preset("seesr"), seed, 512, 512) for seed in range(100)]
    seeds = [n for n, plan in enumerate(plans) if plan.first.mode == "bilinear" and plan.second.noise.kind == "poisson"]
    image, threads = scene(512, 512), torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append([part for seed in seeds[:5] for part in apply(plans[seed], image)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*results))


def test_bicubic_preset_is_pillows_bicubic() -> None:
    image = scene(64, 64)
    photo = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
    expected = np.asarray(photo.resize((16, 16), Image.Resampling.BICUBIC), dtype=int)
    assert np.abs(np.asarray(degrade_photo(photo, "bicubic", 0), dtype=int) - expected).max() <= 1


def test_steps_left_out_leave_the_image_alone() -> None:
    """With every draw removed from a plan, only the final resize is left."""
    plan = draw(preset("real-esrgan"), 0, 64, 64)
    idle = replace(plan.second, kernel=None, size=None, noise=None, quality=None)
    lr, _ = apply(replace(plan, first=None, second=idle, mode="area", sinc=None), scene(64, 64))
    means = F.avg_pool2d(scene(64, 64), 4)
    assert (lr - means).abs().max() <= 0.5 / 255 + 1e-6


def test_the_order_of_final_resize_and_jpeg_matters() -> None:
    plan = draw(preset("real-esrgan"), 1, 64, 64)
    image = scene(64, 64)
    before, _ = apply(replace(plan, jpeg_last=False), image)
    after, _ = apply(replace(plan, jpeg_last=True), image)
    assert not torch.equal(before, after)
    assert torch.equal(before, apply(plan, image)[0]) != torch.equal(after, apply(plan, image)[0])


def test_bad_input_is_named() -> None:
    degrade = Degradation(preset("mild"))
    with pytest.raises(SeesrError, match="multiples of 4"):
        degrade(torch.zeros(1, 3, 66, 64), torch.zeros(1, dtype=torch.long))
    with pytest.raises(SeesrError, match="one seed"):
        degrade(torch.zeros(2, 3, 64, 64), torch.zeros(1, dtype=torch.long))
    with pytest.raises(SeesrError, match="real-esrgan"):
        preset("realesrgan")
    with pytest.raises(SeesrError, match="quality"):
        Jpeg(quality=(95, 30))
    with pytest.raises(SeesrError, match="sum to 1"):
        Blur(sigma=(0.2, 3.0), kinds=(("iso", 0.5),))
    with pytest.raises(SeesrError, match="keep"):
        Resize(factor=(0.5, 1.5), up=0.7, down=0.7)
    with pytest.raises(SeesrError, match="3x50"):
        degrade_photo(Image.new("RGB", (3, 50)), "mild", 0)


def test_photos_of_any_size_and_mode() -> None:
    photo = Image.fromarray((scene(70, 103) * 255).byte().permute(1, 2, 0).numpy())
    assert degrade_photo(photo, "seesr", 4).size == (25, 17)
    assert degrade_photo(photo.convert("L"), "camera", 4).size == (25, 17)
    page = sheet(photo, "camera", seed=0, n=5)
    assert page.width == 4 * 256
    first = np.asarray(degrade_photo(photo, "camera", 0))
    assert (np.asarray(page)[2, 2] == first[0, 0]).all()  # seed + 0 comes first, enlarged without smoothing
