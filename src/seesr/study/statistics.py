"""Figures of a user study: vote shares, the Bradley-Terry-Luce model, agreement; numpy only.

A vote is the choice of one method out of a set. For all methods at once that is Luce's choice model (1959), of which
Bradley and Terry's (1952) is the case of two: P(i | S) = exp(s_i) / sum over j in S of exp(s_j), s being log strengths
of mean 0.

Votes of one rater, and votes on one photo, resemble each other. Intervals therefore come from a bootstrap that
resamples raters and photos independently (Owen 2007, the pigeonhole bootstrap, which errs on the wide side). Wilson's
interval (1927), which takes every vote for independent, is given beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SEED = 0
RESAMPLES = 2000
LEVEL = 0.95

_PRIOR = 0.5


@dataclass(frozen=True)
class Choice:
    """One vote: indices of the rater, the photo, the methods to choose from, and the chosen method."""

    rater: int
    photo: int
    offered: tuple[int, ...]
    chosen: int


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Preferences:
    """What a set of votes says about n methods.

    The bootstrap gives no interval for a method that was never, or always, chosen. Its share gets Wilson's interval;
    its strength rests on the prior and gets none (NaN).

    votes, offered: (n,) how often each was chosen, and could have been.
    shares: chosen / offered, with bootstrap intervals; wilson: the same shares with Wilson's intervals.
    chance: (n,) share expected of blind choice.
    strengths: log strengths of the Bradley-Terry-Luce model, mean 0.
    ranks: 1 is the strongest, with bootstrap intervals.
    beats: [i][j] is the model's probability that i is preferred to j; no interval for i = j.
    """

    votes: np.ndarray
    offered: np.ndarray
    shares: list[Interval]
    wilson: list[Interval]
    chance: np.ndarray
    strengths: list[Interval]
    ranks: list[Interval]
    beats: list[list[Interval]]


def preferences(choices: Sequence[Choice], methods: int) -> Preferences:
    """Shares, strengths and ranks of `methods` methods, numbered from 0; at least one vote is needed."""
    sets = sorted({choice.offered for choice in choices})
    member = np.zeros((len(sets), methods), dtype=bool)
    for i, offered in enumerate(sets):
        member[i, list(offered)] = True
    place = np.array([sets.index(choice.offered) * methods + choice.chosen for choice in choices])

    def count(weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(place, weights, len(sets) * methods).reshape(len(sets), methods)

    # (resamples, sets, methods): how often a method was chosen out of a set
    drawn = np.stack([count(weights) for weights in _resamples(choices)])
    counts = count().astype(float)
    shares, chance = _shares(counts, member), _chance(counts, member)
    strengths = luce(counts, member, _PRIOR)
    strengths_drawn = luce(drawn, member, _PRIOR)
    ranks_drawn = 1 + (strengths_drawn[:, None, :] > strengths_drawn[:, :, None]).sum(2)
    ranks = 1 + (strengths[None, :] > strengths[:, None]).sum(1)

    def win(s: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = 1 / (1 + np.exp(s[..., None, :] - s[..., :, None]))
        return probabilities

    votes = counts.sum(0).astype(int)
    offered = (counts.sum(1)[:, None] * member).sum(0).astype(int)
    beats, beats_drawn = win(strengths), win(strengths_drawn)
    by_wilson = [wilson(int(k), int(n)) for k, n in zip(votes, offered)]
    share_intervals = _intervals(shares, _shares(drawn, member))
    strength_intervals = _intervals(strengths, strengths_drawn)
    for i in np.flatnonzero((votes == 0) | (votes == offered)).tolist():
        share_intervals[i] = Interval(float(shares[i]), by_wilson[i].low, by_wilson[i].high)
        strength_intervals[i] = Interval(float(strengths[i]), float("nan"), float("nan"))
    return Preferences(
        votes,
        offered,
        share_intervals,
        by_wilson,
        chance,
        strength_intervals,
        _intervals(ranks, ranks_drawn),
        [_intervals(beats[i], beats_drawn[:, i]) for i in range(methods)],
    )


def luce(counts: np.ndarray, member: np.ndarray, prior: float = 0.0) -> np.ndarray:
    """Log strengths of mean 0 that make the votes most likely, by Newton's method.

    Args:
        counts: (..., sets, n) how often a method was chosen out of a set.
        member: (sets, n) whether it is in the set.
        prior: votes added to every method, out of all methods (1/2: Jeffreys' prior where all are always offered). With
            none the strength of a method that is never or always chosen is infinite, and the result is not to be used.
    """
    n = counts.shape[-1]
    member = np.concatenate([member, np.ones((1, n), dtype=bool)])
    counts = np.concatenate([counts, np.full((*counts.shape[:-2], 1, n), prior)], axis=-2)
    wins, totals = counts.sum(-2), counts.sum(-1)  # (..., n), (..., sets)
    s: np.ndarray = np.zeros_like(wins)
    for _ in range(100):
        p = np.where(member, np.exp(s)[..., None, :], 0)  # (..., sets, n)
        p /= p.sum(-1, keepdims=True)
        expected = totals[..., None] * p
        gradient = wins - expected.sum(-2)
        # the Hessian, made regular along the direction that changes no probability
        curvature = np.eye(n) * expected.sum(-2)[..., None, :] - np.swapaxes(expected, -1, -2) @ p + 1 / n
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        step *= np.minimum(1, 1 / np.maximum(np.abs(step).max(-1, keepdims=True), 1e-12))
        s = s + step
        if np.abs(step).max() < 1e-9:
            break
    s = s - s.mean(-1, keepdims=True)
    return s


def wilson(chosen: int, offered: int) -> Interval:
    """A proportion with Wilson's score interval; 0 to 1 where nothing was offered."""
    if not offered:
        return Interval(float("nan"), 0.0, 1.0)
    z, p = 1.959963984540054, chosen / offered
    middle = (p + z**2 / (2 * offered)) / (1 + z**2 / offered)
    half = z / (1 + z**2 / offered) * np.sqrt(p * (1 - p) / offered + z**2 / (4 * offered**2))
    return Interval(p, max(float(middle - half), 0.0), min(float(middle + half), 1.0))


def fleiss_kappa(table: np.ndarray) -> float:
    """Fleiss' kappa (1971) of (units, categories) counts with the same number of raters, at least 2, for every unit."""
    raters = table.sum(1)
    if raters.min() != raters.max() or raters[0] < 2:
        raise ValueError("every unit needs the same number of raters, at least 2")
    agreed = ((table**2).sum(1) - raters) / (raters * (raters - 1))
    chance = ((table.sum(0) / table.sum()) ** 2).sum()
    return float((agreed.mean() - chance) / (1 - chance)) if chance < 1 else float("nan")


def krippendorff_alpha(table: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Krippendorff's alpha for nominal data (2011) of (units, categories) counts.

    Args:
        table: units with fewer than two raters say nothing and are left out.
        weights: how often a unit is to be counted.

    Returns:
        1 for full agreement, 0 for as much as by chance; NaN if only one category occurs.
    """
    raters = table.sum(1)
    weights = (np.ones(len(table)) if weights is None else weights) * (raters >= 2)
    raters = np.maximum(raters, 2)
    pairs_apart = (weights * (raters**2 - (table**2).sum(1)) / (raters - 1)).sum()
    totals = (weights[:, None] * table).sum(0)
    n = totals.sum()
    apart_by_chance = n**2 - (totals**2).sum()
    return float(1 - (n - 1) * pairs_apart / apart_by_chance) if apart_by_chance > 0 else float("nan")


def alpha_over_units(table: np.ndarray, photos: np.ndarray) -> Interval:
    """Krippendorff's alpha with a bootstrap interval over photos; `photos` is each unit's photo, an index."""
    rng = np.random.default_rng(SEED)
    count = int(photos.max()) + 1
    drawn = [
        krippendorff_alpha(table, np.bincount(rng.integers(count, size=count), minlength=count)[photos])
        for _ in range(RESAMPLES)
    ]
    drawn = [alpha for alpha in drawn if np.isfinite(alpha)]
    low, high = np.quantile(drawn, _TAILS) if drawn else (float("nan"), float("nan"))
    return Interval(krippendorff_alpha(table), float(low), float(high))


_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _resamples(choices: Sequence[Choice]) -> list[np.ndarray]:
    """How often every vote counts, for each resample of raters and photos; resamples without any vote are left out."""
    rng = np.random.default_rng(SEED)
    raters = np.unique([choice.rater for choice in choices], return_inverse=True)[1]
    photos = np.unique([choice.photo for choice in choices], return_inverse=True)[1]

    def draw(which: np.ndarray) -> np.ndarray:
        count = int(which.max()) + 1
        drawn: np.ndarray = np.bincount(rng.integers(count, size=count), minlength=count)[which]
        return drawn

    weights = [draw(raters) * draw(photos) for _ in range(RESAMPLES)]
    return [weight for weight in weights if weight.any()]


def _shares(counts: np.ndarray, member: np.ndarray) -> np.ndarray:
    """(..., sets, n) → (..., n) chosen / offered; 0 where never offered."""
    offered = (counts.sum(-1)[..., None] * member).sum(-2)
    shares: np.ndarray = counts.sum(-2) / np.maximum(offered, 1)
    return shares


def _chance(counts: np.ndarray, member: np.ndarray) -> np.ndarray:
    asked = counts.sum(-1)[:, None] * member
    chance: np.ndarray = (asked / member.sum(-1)[:, None]).sum(0) / np.maximum(asked.sum(0), 1)
    return chance


def _intervals(values: np.ndarray, drawn: np.ndarray) -> list[Interval]:
    low, high = np.quantile(drawn, _TAILS, axis=0)
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(values, low, high)]
