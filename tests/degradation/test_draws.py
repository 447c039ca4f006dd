"""What the degradation draws has the shares and ranges that Real-ESRGAN publishes."""

import math
from collections import Counter

import pytest
import torch
from scipy import stats

from seesr.degradation import (
    DegradationPlan,
    draw,
    preset,
)

DRAWS = 4000


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


def test_every_kernel_sums_to_one_and_is_symmetric(plans: list[DegradationPlan]) -> None:
    for plan in plans[:300]:
        for kernel in (plan.first.kernel, plan.second.kernel, plan.sinc):
            if kernel is not None:
                weights = kernel.weights()
                assert weights.shape == (kernel.size, kernel.size)
                assert torch.isclose(weights.sum(), torch.tensor(1.0), atol=1e-5)
                assert torch.allclose(weights, weights.flip(0, 1), atol=1e-6)
