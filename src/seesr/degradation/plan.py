"""Draw everything random about one sample's degradation, from its seed alone.

A plan holds every drawn value, so applying it is deterministic, and what was drawn can be tested and shown.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seesr.degradation.kernels import Kernel
from seesr.degradation.noise import NoisePlan
from seesr.degradation.presets import (
    ODD_SIZES,
    Blur,
    DegradationConfig,
    DegradationStage,
    Jpeg,
    Noise,
    Range,
    Resize,
    ResizeMode,
    SensorNoise,
)
from seesr.degradation.sensor import SensorPlan

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class StagePlan:
    """Blur, resize to `size` in `mode`, noise, JPEG of one sample; None leaves a step out."""

    kernel: Kernel | None
    size: Size | None
    mode: ResizeMode
    noise: NoisePlan | SensorPlan | None
    quality: int | None
    grid: Size = (0, 0)  # rows and columns of the JPEG's first blocks that lie outside the image


@dataclass(frozen=True)
class DegradationPlan:
    """All draws of one sample; the fields are those of DegradationConfig."""

    usm: bool
    first: StagePlan | None
    second: StagePlan
    size: Size  # of the LR image
    mode: ResizeMode
    sinc: Kernel | None
    jpeg_last: bool  # the second stage's JPEG after, not before, the final resize and sinc
    jpeg_codec: Literal["pillow", "torch"]


def draw(config: DegradationConfig, seed: int, height: int, width: int, scale: int = 4) -> DegradationPlan:
    """Plan for an HR image of this size in pixels; the draws depend on `config` and `seed` only."""
    rng = np.random.default_rng(seed % 2**64)
    low = (height // scale, width // scale)
    first = _stage(rng, config.first, (height, width)) if config.first else None
    second = _stage(rng, config.second, low)
    sinc = None
    if rng.random() < config.final_sinc:
        sinc = Kernel("sinc", int(rng.choice(ODD_SIZES)), cutoff=rng.uniform(math.pi / 3, math.pi))
    return DegradationPlan(
        usm=config.usm,
        first=first,
        second=second,
        size=low,
        mode=_mode(rng, config.final_modes),
        sinc=sinc,
        jpeg_last=rng.random() < config.jpeg_last,
        jpeg_codec=config.jpeg_codec,
    )


def _stage(rng: np.random.Generator, stage: DegradationStage, reference: Size) -> StagePlan:
    """`reference` is the size that the factors of the stage's resize relate to."""
    kernel = _kernel(rng, stage.blur) if stage.blur else None
    size: Size | None = None
    mode: ResizeMode = "area"
    if stage.resize:
        factor, mode = _resize(rng, stage.resize)
        size = (max(1, int(reference[0] * factor)), max(1, int(reference[1] * factor)))
    return StagePlan(
        kernel=kernel,
        size=size,
        mode=mode,
        noise=_noise(rng, stage.noise) if stage.noise else None,
        quality=_quality(rng, stage.jpeg) if stage.jpeg else None,
        grid=_grid(rng) if stage.jpeg and stage.jpeg.unaligned else (0, 0),
    )


def _kernel(rng: np.random.Generator, blur: Blur) -> Kernel | None:
    if rng.random() >= blur.probability:
        return None
    size = int(rng.choice(blur.sizes))
    if rng.random() < blur.sinc_probability:
        return Kernel("sinc", size, cutoff=rng.uniform(math.pi / 3 if size < 13 else math.pi / 5, math.pi))
    names, shares = zip(*blur.kinds)
    kind = names[rng.choice(len(names), p=shares)]
    sigma = (rng.uniform(*blur.sigma), rng.uniform(*blur.sigma))
    if kind == "motion":
        sigma = (max(sigma), min(sigma))
    elif not kind.endswith("aniso"):
        sigma = (sigma[0], sigma[0])
    beta = 1.0
    if kind.startswith("generalized"):
        beta = _beta(rng, blur.beta_generalized)
    elif kind.startswith("plateau"):
        beta = _beta(rng, blur.beta_plateau)
    return Kernel(kind, size, sigma, rng.uniform(-math.pi, math.pi), beta)


def _beta(rng: np.random.Generator, limits: Range) -> float:
    """One half of the draws lies below 1, the other above: sharper and flatter peaks are equally common."""
    below = rng.random() < 0.5
    return rng.uniform(limits[0], 1.0) if below else rng.uniform(1.0, limits[1])


def _resize(rng: np.random.Generator, resize: Resize) -> tuple[float, ResizeMode]:
    choice = rng.random()
    factor = 1.0
    if choice < resize.up:
        factor = rng.uniform(1.0, resize.factor[1])
    elif choice < resize.up + resize.down:
        lowest = resize.lowest > 0 and rng.random() < resize.lowest
        factor = resize.factor[0] if lowest else rng.uniform(resize.factor[0], 1.0)
    return factor, _mode(rng, resize.modes)


def _mode(rng: np.random.Generator, modes: tuple[ResizeMode, ...]) -> ResizeMode:
    return modes[rng.integers(len(modes))]


def _noise(rng: np.random.Generator, noise: Noise | SensorNoise) -> NoisePlan | SensorPlan | None:
    if isinstance(noise, SensorNoise):
        return _sensor(rng, noise)
    if rng.random() >= noise.probability:
        return None
    gaussian = rng.random() < noise.gaussian
    return NoisePlan(
        kind="gaussian" if gaussian else "poisson",
        strength=rng.uniform(*(noise.sigma if gaussian else noise.poisson)),
        grey=rng.random() < noise.grey,
        levels=noise.levels,
        seed=int(rng.integers(2**63)),
    )


def _quality(rng: np.random.Generator, jpeg: Jpeg) -> int | None:
    if rng.random() >= jpeg.probability:
        return None
    return int(rng.integers(jpeg.quality[0], jpeg.quality[1] + 1))


def _sensor(rng: np.random.Generator, noise: SensorNoise) -> SensorPlan:
    shot = math.exp(rng.uniform(math.log(noise.shot[0]), math.log(noise.shot[1])))
    return SensorPlan(
        shot=shot,
        read=shot * rng.uniform(*noise.read),
        red=rng.uniform(*noise.red),
        blue=rng.uniform(*noise.blue),
        saturation=rng.uniform(*noise.saturation),
        tone=rng.uniform(*noise.tone),
        chroma=rng.uniform(*noise.chroma),
        luma=rng.uniform(*noise.luma),
        sharpening=rng.uniform(*noise.sharpening),
        radius=rng.uniform(*noise.radius),
        seed=int(rng.integers(2**63)),
    )


def _grid(rng: np.random.Generator) -> Size:
    """With chroma halved, blocks begin again every 16 pixels."""
    return int(rng.integers(16)), int(rng.integers(16))
