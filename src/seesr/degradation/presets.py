"""What a degradation may do: typed ranges and probabilities, and the named presets.

The two-stage process and the numbers of `real-esrgan` are those of Real-ESRGAN (Wang et al., ICCVW 2021,
arXiv 2107.10833, section 3 and its appendix); `seesr` adds what SeeSR's data scripts do on top, `mild` is the gentler
set that they ship. `camera` models a lens and a sensor instead: optical blur, one reduction, weak noise, light JPEG.
`web` is what pages and messengers do to photos: reduced, saved as JPEG once or twice, its grid anywhere; `phone` is the
noise of small sensors as their software leaves it, see `seesr.degradation.sensor`.
Each sample draws its own values, uniformly within every range.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from seesr.errors import SeesrError

Range = tuple[float, float]
KernelKind = Literal[
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
    "disc",
    "motion",
    "sinc",
]
ResizeMode = Literal["area", "bilinear", "bicubic", "bicubic_antialias"]

PUBLISHED_KINDS: tuple[tuple[KernelKind, float], ...] = (
    ("iso", 0.45),
    ("aniso", 0.25),
    ("generalized_iso", 0.12),
    ("generalized_aniso", 0.03),
    ("plateau_iso", 0.12),
    ("plateau_aniso", 0.03),
)
ODD_SIZES = (7, 9, 11, 13, 15, 17, 19, 21)


def _check(name: str, **values: float | Range) -> None:
    """Raise SeesrError unless tuples are ranges 0 <= low <= high and single numbers are probabilities."""
    for key, value in values.items():
        if isinstance(value, tuple):
            if not 0 <= value[0] <= value[1]:
                raise SeesrError(f"degradation: {name}.{key} = {value} is no range; give (low, high), 0 <= low <= high")
        elif not 0 <= value <= 1:
            raise SeesrError(f"degradation: {name}.{key} = {value} is no probability; give a number from 0 to 1")


def _check_around_one(name: str, **ranges: Range) -> None:
    """Raise SeesrError unless the ranges hold 1, from which draws go up or down."""
    for key, (low, high) in ranges.items():
        if not low <= 1 <= high:
            raise SeesrError(f"degradation: {name}.{key} = {(low, high)} does not hold 1; give a range around it")


@dataclass(frozen=True)
class Blur:
    """A random kernel. `sigma` is the standard deviation along an axis in pixels of the image it meets."""

    sigma: Range
    probability: float = 1.0
    kinds: tuple[tuple[KernelKind, float], ...] = PUBLISHED_KINDS
    sizes: tuple[int, ...] = ODD_SIZES
    beta_generalized: Range = (0.5, 4.0)
    beta_plateau: Range = (1.0, 2.0)
    sinc_probability: float = 0.1  # an ideal low-pass instead; cutoff from pi/3 (sizes < 13) or pi/5 up to pi

    def __post_init__(self) -> None:
        _check("blur", sigma=self.sigma, probability=self.probability, sinc_probability=self.sinc_probability)
        _check("blur", beta_generalized=self.beta_generalized, beta_plateau=self.beta_plateau)
        _check_around_one("blur", beta_generalized=self.beta_generalized, beta_plateau=self.beta_plateau)
        if not math.isclose(sum(p for _, p in self.kinds), 1.0):
            raise SeesrError("degradation: blur.kinds do not sum to 1; give every kernel kind its share")
        if any(size % 2 == 0 for size in self.sizes):
            raise SeesrError(f"degradation: blur.sizes = {self.sizes} holds an even size; kernels need a centre")


@dataclass(frozen=True)
class Resize:
    """A change of size by a factor drawn from [1, high] (up), [low, 1] (down) or 1 (keep)."""

    factor: Range
    up: float
    down: float
    modes: tuple[ResizeMode, ...] = ("area", "bilinear", "bicubic")
    lowest: float = 0.0  # share of the reductions that go all the way to `factor[0]`

    def __post_init__(self) -> None:
        _check("resize", lowest=self.lowest)
        _check("resize", factor=self.factor, up=self.up, down=self.down, keep=1 - self.up - self.down)
        _check_around_one("resize", factor=self.factor)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise with probability `gaussian`, else Poisson noise.

    `sigma` is in 8-bit grey levels. `poisson` scales shot noise of variance value / levels, where `levels` is fixed or,
    if None, the published rule: the image's count of distinct 8-bit values, rounded up to a power of two.
    `grey`: probability of the same noise in all three channels.
    """

    sigma: Range
    poisson: Range
    probability: float = 1.0
    gaussian: float = 0.5
    grey: float = 0.4
    levels: int | None = None

    def __post_init__(self) -> None:
        _check("noise", sigma=self.sigma, poisson=self.poisson, probability=self.probability)
        _check("noise", gaussian=self.gaussian, grey=self.grey)


@dataclass(frozen=True)
class SensorNoise:
    """Noise of a sensor, developed into a picture: ranges of the fields of `SensorPlan`, where they are explained.

    `shot` is drawn uniformly in its logarithm; the read noise follows it, `read` times it.
    """

    shot: Range
    read: Range = (0.01, 0.1)
    red: Range = (1.6, 2.6)
    blue: Range = (1.4, 2.2)
    saturation: Range = (0.2, 0.8)
    tone: Range = (0.0, 1.0)
    chroma: Range = (0.0, 3.0)
    luma: Range = (0.0, 0.7)
    sharpening: Range = (0.0, 1.2)
    radius: Range = (0.6, 1.5)

    def __post_init__(self) -> None:
        _check("sensor noise", **vars(self))
        if self.shot[0] <= 0:
            raise SeesrError(f"degradation: sensor noise.shot = {self.shot} begins at 0; give a range above it")


@dataclass(frozen=True)
class Jpeg:
    """JPEG with 4:2:0 chroma; integer quality, both ends included.

    `unaligned`: the grid of its blocks begins anywhere, as in a photo that was cropped after it was saved.
    """

    quality: tuple[int, int]
    probability: float = 1.0
    unaligned: bool = False

    def __post_init__(self) -> None:
        _check("jpeg", probability=self.probability)
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise SeesrError(f"degradation: jpeg.quality = {self.quality} is no range within 1..100")


@dataclass(frozen=True)
class DegradationStage:
    """Blur, resize, noise, JPEG, in this order; None leaves a step out."""

    blur: Blur | None = None
    resize: Resize | None = None
    noise: Noise | SensorNoise | None = None
    jpeg: Jpeg | None = None


@dataclass(frozen=True)
class DegradationConfig:
    """The whole process from HR to LR.

    The factors of the first stage's resize are relative to HR, those of the second to LR. At the end the image is
    brought to the LR size and low-passed by a sinc, before or after the second stage's JPEG.
    """

    first: DegradationStage | None
    second: DegradationStage
    usm: bool = False  # sharpen HR first; the sharpened HR is then the target too
    final_modes: tuple[ResizeMode, ...] = ("area", "bilinear", "bicubic")
    final_sinc: float = 0.8  # probability; cutoff from pi/3 up to pi
    jpeg_last: float = 0.5  # probability that the second stage's JPEG comes after the final resize
    jpeg_codec: Literal["pillow", "torch"] = "pillow"  # the real codec, or its differentiable approximation

    def __post_init__(self) -> None:
        _check("final", final_sinc=self.final_sinc, jpeg_last=self.jpeg_last)


_REAL_ESRGAN = DegradationConfig(
    first=DegradationStage(
        Blur(sigma=(0.2, 3.0)),
        Resize(factor=(0.15, 1.5), up=0.2, down=0.7),
        Noise(sigma=(1, 30), poisson=(0.05, 3.0)),
        Jpeg(quality=(30, 95)),
    ),
    second=DegradationStage(
        Blur(sigma=(0.2, 1.5), probability=0.8),
        Resize(factor=(0.3, 1.2), up=0.3, down=0.4),
        Noise(sigma=(1, 25), poisson=(0.05, 2.5)),
        Jpeg(quality=(30, 95)),
    ),
)

_MILD = DegradationConfig(
    first=DegradationStage(
        Blur(sigma=(0.2, 3.0)),
        Resize(factor=(0.3, 1.5), up=0.2, down=0.7),
        Noise(sigma=(1, 15), poisson=(0.05, 2.0)),
        Jpeg(quality=(60, 95)),
    ),
    second=DegradationStage(
        Blur(sigma=(0.2, 1.5), probability=0.5),
        Resize(factor=(0.6, 1.2), up=0.3, down=0.4),
        Noise(sigma=(1, 12), poisson=(0.05, 1.0)),
        Jpeg(quality=(60, 100)),
    ),
)

_CAMERA = DegradationConfig(
    first=None,
    second=DegradationStage(
        Blur(
            sigma=(0.4, 3.0),
            kinds=(("iso", 0.4), ("aniso", 0.2), ("plateau_iso", 0.1), ("disc", 0.2), ("motion", 0.1)),
            sizes=(21,),
            sinc_probability=0.0,
        ),
        Resize(factor=(1.0, 1.0), up=0.0, down=0.0, modes=("area", "bicubic_antialias")),
        Noise(sigma=(0.2, 4.0), poisson=(0.02, 0.3), probability=0.8, levels=256),
        Jpeg(quality=(75, 98), probability=0.5),
    ),
    final_sinc=0.0,
)

_WEB = DegradationConfig(
    first=DegradationStage(
        Blur(sigma=(0.2, 1.6), probability=0.4, kinds=(("iso", 0.7), ("aniso", 0.3)), sinc_probability=0.0),
        Resize(factor=(0.25, 1.0), up=0.0, down=1.0, modes=("area", "bicubic_antialias"), lowest=0.5),
        jpeg=Jpeg(quality=(30, 95), probability=0.5, unaligned=True),
    ),
    second=DegradationStage(jpeg=Jpeg(quality=(30, 95), unaligned=True)),
    final_modes=("area", "bicubic_antialias"),
    final_sinc=0.0,
    jpeg_last=1.0,
)

_PHONE = DegradationConfig(
    first=None,
    second=DegradationStage(
        Blur(sigma=(0.4, 2.4), kinds=(("iso", 0.5), ("aniso", 0.3), ("disc", 0.2)), sinc_probability=0.0),
        Resize(factor=(1.0, 2.0), up=0.5, down=0.0, modes=("area", "bicubic_antialias")),
        SensorNoise(shot=(5e-5, 3e-3)),
        Jpeg(quality=(60, 97), probability=0.8, unaligned=True),
    ),
    final_modes=("area", "bicubic_antialias"),
    final_sinc=0.0,
)

PRESETS: dict[str, DegradationConfig] = {
    "seesr": replace(_REAL_ESRGAN, usm=True),
    "real-esrgan": _REAL_ESRGAN,
    "mild": _MILD,
    "camera": _CAMERA,
    "web": _WEB,
    "phone": _PHONE,
    "bicubic": DegradationConfig(
        first=None, second=DegradationStage(), final_modes=("bicubic_antialias",), final_sinc=0.0
    ),
}


def preset(name: str) -> DegradationConfig:
    """The preset of this name; raises SeesrError for an unknown one."""
    if name not in PRESETS:
        raise SeesrError(f"unknown degradation preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
