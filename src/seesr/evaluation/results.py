"""What an evaluation finds: the test set, what each method made and cost, the scores, how methods differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seesr.data.pairs import Pair
from seesr.evaluation.benchmark import Evaluation
from seesr.evaluation.published import Reproduction, reproductions
from seesr.metrics.intervals import Difference
from seesr.metrics.registry import get_metric

FEW = 20
"""Pictures that a percentile bootstrap needs; with ten its 95 % intervals of normal figures cover about 90 %."""


@dataclass(frozen=True)
class Testset:
    """Low-resolution pictures and, unless `has_references` is False, what they should become.

    pairs: `Pair(name, low-resolution file, reference file)`, by name. scale: of width and height.
    """

    __test__ = False  # for pytest, which takes it for a test

    folder: Path
    pairs: list[Pair]
    scale: int

    @property
    def has_references(self) -> bool:
        return self.pairs[0].reference is not None


@dataclass(frozen=True)
class Cost:
    """Of one restoration; None where a method cannot tell. hardware: what it was restored on, in words."""

    seconds: float | None
    peak_bytes: int | None
    hardware: str | None = None


@dataclass(frozen=True)
class MethodResult:
    """What one method made: files and costs by picture's name, and the scores."""

    name: str
    settings: dict[str, Any]
    files: dict[str, Path]
    costs: dict[str, Cost]
    evaluation: Evaluation

    def mean_cost(self) -> Cost:
        """Mean seconds, and the largest peak, of the pictures it is known for."""
        seconds = [cost.seconds for cost in self.costs.values() if cost.seconds is not None]
        peaks = [cost.peak_bytes for cost in self.costs.values() if cost.peak_bytes is not None]
        return Cost(sum(seconds) / len(seconds) if seconds else None, max(peaks, default=None))

    def hardware(self) -> list[str]:
        """The hardware behind the known times: more than one where a run was continued elsewhere."""
        return sorted({cost.hardware for cost in self.costs.values() if cost.hardware and cost.seconds is not None})


@dataclass(frozen=True)
class Results:
    """A finished evaluation.

    differences: metric → method → its paired difference to `against`; empty without one.
    """

    testset: Testset
    methods: list[MethodResult]
    device: str
    against: str | None
    differences: dict[str, dict[str, Difference]]

    @property
    def metrics(self) -> list[str]:
        """Those that could be computed for every method, in the order asked for."""
        return [name for name in self.methods[0].evaluation.summary if name not in self.unavailable]

    def best(self, metric: str) -> float:
        """The best mean of all methods."""
        means = [method.evaluation.summary[metric].mean for method in self.methods]
        return (max if get_metric(metric).higher_is_better else min)(means)

    def reproductions(self, method: MethodResult) -> dict[str, Reproduction]:
        """By metric: how a method's mean compares with the published one; {} where there is none."""
        means = {name: method.evaluation.summary[name].mean for name in self.metrics}
        return reproductions(self.testset.folder, len(self.testset.pairs), method.name, means)

    @property
    def unavailable(self) -> dict[str, str]:
        """Metric → why it could not be computed."""
        return {name: why for method in self.methods for name, why in method.evaluation.unavailable.items()}

    def reasons(self) -> dict[str, list[str]]:
        """Why metrics could not be computed → which."""
        found: dict[str, list[str]] = {}
        for name, why in self.unavailable.items():
            found.setdefault(why, []).append(name)
        return found

    @property
    def few_pictures(self) -> bool:
        """Whether there are so few pictures that percentile intervals come out too narrow."""
        return len(self.testset.pairs) < FEW

    def rows(self) -> list[dict[str, Any]]:
        """Per method and picture: figures, seconds and peak memory in MiB."""
        return [
            {"method": method.name}
            | row
            | {"seconds": method.costs[row["image"]].seconds, "peak_mib": mebibytes(method.costs[row["image"]])}
            for method in self.methods
            for row in method.evaluation.rows
        ]


def mebibytes(cost: Cost) -> float | None:
    """Peak memory in MiB."""
    return None if cost.peak_bytes is None else round(cost.peak_bytes / 2**20, 1)
