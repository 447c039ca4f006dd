"""What a job did, counted and told in a few lines."""

import time
from dataclasses import dataclass, field

_LISTED = 10  # failures that the end repeats
_ENOUGH = 10  # photos done, after which the pace is known
DAY = 86400.0
SHARE = "`seesr cluster` shares a folder among several processes or machines (docs/cluster.md)"
"""Said of jobs that take longer than a day."""


@dataclass
class Summary:
    """Counts of a job over `total` photos.

    skipped: done before. left: of the size already, and to be left alone. others: another run's. failed: one line each,
    which names the photo. pixels: of all results made now.
    """

    total: int
    done: int = 0
    skipped: int = 0
    left: int = 0
    others: int = 0
    failed: list[str] = field(default_factory=list)
    pixels: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def remaining(self) -> int:
        return self.total - self.done - self.skipped - self.left - self.others - len(self.failed)

    def seconds_left(self) -> float:
        """Of a job that goes on at the same pace; 0 before enough photos are done to tell."""
        pace = (time.perf_counter() - self.began) / max(self.done, 1)
        return pace * self.remaining if self.done >= _ENOUGH else 0.0

    def finished(self) -> int:
        """Photos that stand there as wanted."""
        return self.done + self.skipped + self.left

    def lines(self, repeat: bool = True) -> list[str]:
        """For the end of a job of several photos; `repeat`: with the failures, if they may be far above."""
        seconds = time.perf_counter() - self.began
        counts = [f"{self.done} done"]
        counts += [f"{self.skipped} skipped (done before)"] if self.skipped else []
        counts += [f"{self.left} left as they are (large enough)"] if self.left else []
        counts += [f"{self.others} in the hands of another run"] if self.others else []
        counts += [f"{len(self.failed)} failed"] if self.failed else []
        speed = ""
        if self.done:
            rate, million = self.done / seconds, self.pixels / seconds / 1e6
            speed = f" in {duration(seconds)}: {rate:.3g} images/s, {million:.3g} megapixels/s"
        told = [", ".join(counts) + speed]
        if repeat and self.failed and self.total > 2 * _LISTED:
            told += [f"failed: {line}" for line in self.failed[:_LISTED]]
            told += [f"and {len(self.failed) - _LISTED} more"] if len(self.failed) > _LISTED else []
        return told


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
