"""How sure a mean is: bootstrap intervals and paired sign-flip tests, their seed fixed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

SEED = 0
RESAMPLES = 10_000


@dataclass(frozen=True)
class Mean:
    """Mean over pictures with its 95 % percentile bootstrap interval; no interval for figures of a whole set (FID)."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, its 95 % bootstrap interval and the two-sided p of a sign-flip permutation test.

    p is exact where all patterns of signs can be gone through (13 pictures or fewer), else of `RESAMPLES` random ones.
    """

    mean: float
    low: float
    high: float
    p_value: float


def bootstrap_mean(values: Sequence[float]) -> Mean:
    """Mean with its 95 % percentile bootstrap interval (Efron 1979), seed fixed."""
    low, high = bootstrap_interval(np.asarray(values, dtype=np.float64))
    return Mean(float(np.mean(values)), low, high)


def sign_flip_p(differences: np.ndarray) -> float:
    """How often the mean is as far from 0 as it is when every difference could as well have the other sign."""
    exact = 2**differences.size <= RESAMPLES
    rng = np.random.default_rng(SEED)
    patterns: Iterable[Any] = (
        product((-1.0, 1.0), repeat=differences.size)
        if exact
        else (rng.choice((-1.0, 1.0), differences.size) for _ in range(RESAMPLES))
    )
    flipped = np.array([abs((differences * signs).mean()) for signs in patterns])
    observed = abs(differences.mean())
    # the margin lets sums that are equal but for rounding count as equal
    extreme = int((flipped >= observed - 1e-12 * max(observed, 1.0)).sum())
    return extreme / flipped.size if exact else (extreme + 1) / (RESAMPLES + 1)  # drawn: the data count as one pattern


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(SEED)
    means = [values[rng.integers(values.size, size=values.size)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
