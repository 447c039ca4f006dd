"""Who dies of what: batches that processes took on, and photos that processes died of.

Ray gives the batch of a dead process to another one, again and again. A photo that kills every process it comes to,
because it needs more memory than there is or crashes a decoder, would keep the job from ending. So each batch is
counted when it is begun, and from its second time on each of its photos.
"""

from collections import Counter
from typing import Any, Protocol

DEADLY = 2
"""Times that a photo may be begun in a batch that killed a process before."""


class Ledger(Protocol):
    """What processes ask."""

    def begin(self, batch: str) -> int:
        """Count a batch as begun; how often it was before."""
        ...

    def touch(self, photo: str) -> int:
        """Count a photo as begun; how often it was before."""
        ...

    def settle(self, photo: str) -> int:
        """A photo did no harm; returns 0."""
        ...


class Counts:
    """A ledger in memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def begin(self, batch: str) -> int:
        self._counts[batch] += 1
        return self._counts[batch] - 1

    touch = begin

    def settle(self, photo: str) -> int:
        self._counts[photo] = 0
        return 0


class RemoteLedger:
    """A ledger that lives in a process of its own, a Ray actor, and ends with the job."""

    def __init__(self) -> None:
        import ray

        self._actor: Any = ray.remote(Counts).options(num_cpus=0).remote()

    def begin(self, batch: str) -> int:
        return self._ask("begin", batch)

    def touch(self, photo: str) -> int:
        return self._ask("touch", photo)

    def settle(self, photo: str) -> int:
        return self._ask("settle", photo)

    def _ask(self, method: str, name: str) -> int:
        import ray

        counted: int = ray.get(getattr(self._actor, method).remote(name))
        return counted
