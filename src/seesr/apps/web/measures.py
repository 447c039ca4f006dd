"""What the server counts, in Prometheus' text format at `/metrics`."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)  # seconds


class Measures:
    """Counters of one server; a registry of its own, so that two servers in one process do not mix.

    Args:
        queue_length: jobs that wait or run, asked when the figures are.
        kept: jobs whose files are on the disk.
    """

    def __init__(self, queue_length: Callable[[], int], kept: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "seesr_requests", "HTTP requests.", ("method", "route", "status"), registry=self.registry
        )
        self.jobs = Counter("seesr_jobs", "Jobs that ended.", ("state",), registry=self.registry)
        self.failures = Counter("seesr_failures", "Refusals and failures.", ("kind",), registry=self.registry)
        self.megapixels = Counter("seesr_megapixels", "Megapixels of results.", registry=self.registry)
        self.stage_seconds = Histogram(
            "seesr_stage_seconds",
            "Seconds of a restoration's stages.",
            ("stage",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        Gauge("seesr_queue_length", "Jobs that wait or run.", registry=self.registry).set_function(queue_length)
        Gauge("seesr_jobs_kept", "Jobs whose files are kept.", registry=self.registry).set_function(kept)

    def restored(self, seconds: dict[str, float], megapixels: float) -> None:
        """Count a restored photo: seconds by stage, and megapixels of the result."""
        self.megapixels.inc(megapixels)
        for stage, taken in seconds.items():
            self.stage_seconds.labels(stage).observe(taken)

    def text(self) -> bytes:
        """All figures as they stand."""
        return generate_latest(self.registry)
