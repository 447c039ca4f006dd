"""A job of the server: one photo of a visitor, how it stands, and what the server takes (see `job_queue`)."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seesr.errors import SeesrError
from seesr.restoration.outputs import Progress

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled"})


class BusyError(SeesrError):
    """The queue, or the visitor's part of it, is full. retry_after: seconds until it may be tried again."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StopRestoration(Exception):
    """Ends a running restoration from its progress callback; `reason` is told to the visitor."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What the server takes.

    upload_bytes: of one file. megapixels: of a photo, and of its result. waiting: jobs in the queue. per_visitor: jobs
    of one visitor, ended ones that are still kept included. seconds: that a job may run. keep_seconds: that an ended
    job is kept for.
    """

    upload_bytes: int = 50_000_000
    megapixels: float = 64.0
    waiting: int = 16
    per_visitor: int = 24
    seconds: float = 900.0
    keep_seconds: float = 1800.0


@dataclass
class WebJob:
    """One photo to restore. Read it through `Queue.snapshot`: the worker changes it.

    folder: private; `photo` in it is the upload, `result` what the restoration left. version: grows with every change.
    finished_share: of the stage, 0 to 1.
    """

    id: str
    visitor: str
    name: str
    folder: Path
    photo: Path
    work: "Work"
    state: State = "waiting"
    stage: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    created: float = field(default_factory=time.monotonic)
    started: float = 0.0
    ended: float = 0.0
    version: int = 0
    stop: str = ""  # why it is to end
    stage_started: float = 0.0


Work = Callable[[WebJob, Callable[[Progress], None]], None]
"""Restores a job's photo; raises `SeesrError` with a reason for the visitor, and lets `StopRestoration` pass."""


@dataclass(frozen=True)
class Snapshot:
    """A job as it stands. position: jobs before it, 0 when it runs. left: seconds, as far as can be told."""

    id: str
    name: str
    state: State
    position: int
    stage: str
    done: int
    total: int
    left: float | None
    seconds: float
    error: str
    version: int
