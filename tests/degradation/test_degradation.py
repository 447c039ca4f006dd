"""The degradation does what it draws, and depends on each sample's seed alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scenes import scene

from seesr.degradation import (
    PRESETS,
    Degradation,
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
