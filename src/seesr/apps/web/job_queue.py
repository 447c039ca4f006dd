"""The one queue of the server: jobs wait in turn, one thread restores them, each can be watched and cancelled.

Nothing here knows of HTTP. A job belongs to a visitor, and its photo and result lie in a private folder that goes when
the job is removed, expires, or the server ends.
"""

import logging
import math
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType

from seesr.apps.web.jobs import ENDED, BusyError, Limits, Snapshot, State, StopRestoration, WebJob, Work
from seesr.errors import SeesrError
from seesr.restoration.outputs import Progress

logger = logging.getLogger(__name__)

_USUAL_SECONDS = 10.0  # of a job, before any has been seen
_SHARE_OF_NEW = 0.3  # of the last job's time in the running mean


class Queue:
    """Jobs in turn, on one thread; a context manager that ends the thread and removes every file.

    Args:
        limits: see `Limits`.
        on_end: told of every job that ends, after its state is set.
    """

    def __init__(self, limits: Limits, on_end: Callable[[WebJob], None] = lambda job: None) -> None:
        self.limits = limits
        self.on_end = on_end
        self._changed = threading.Condition()
        self._jobs: dict[str, WebJob] = {}
        self._waiting: list[WebJob] = []
        self._running: WebJob | None = None
        self._closed = False
        self._usual = _USUAL_SECONDS
        self.root = Path(tempfile.mkdtemp(prefix="seesr-web-"))
        self._worker = threading.Thread(target=self._work, name="seesr-worker", daemon=True)
        self._worker.start()

    def __enter__(self) -> "Queue":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the running job, drop the waiting ones and remove every file."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if self._running:
                self._running.stop = "the server is shutting down"
            self._changed.notify_all()
        self._worker.join(timeout=30)
        shutil.rmtree(self.root, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------- for visitors

    def check_room(self, visitor: str) -> None:
        """Before an upload is read.

        Raises:
            BusyError: the queue is full, or the visitor has too many jobs.
        """
        with self._changed:
            self._expire()
            self._check_room(visitor)

    def submit(self, visitor: str, name: str, content: bytes, work: Work) -> WebJob:
        """Put a photo into the queue.

        Raises:
            BusyError: as `check_room`.
            SeesrError: the server is shutting down, or its disk is full.
        """
        with self._changed:
            self._expire()
            self._check_room(visitor)
            if self._closed:
                raise SeesrError("the server is shutting down")
            number = secrets.token_urlsafe(12)
            folder = self.root / number
            job = WebJob(number, visitor, name, folder, folder / "photo", work)
            try:
                folder.mkdir(mode=0o700)
                job.photo.write_bytes(content)
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise SeesrError(f"the server cannot keep the photo ({error.strerror})") from error
            self._jobs[number] = job
            self._waiting.append(job)
            self._changed.notify_all()
            return job

    def get(self, number: str) -> WebJob | None:
        """The job with that id, None where there is none (any more). Ids cannot be guessed: who has one may see it."""
        with self._changed:
            self._expire()
            return self._jobs.get(number)

    def snapshot(self, job: WebJob) -> Snapshot:
        """The job as it stands now."""
        with self._changed:
            return self._snapshot(job)

    def cancel(self, job: WebJob, reason: str = "cancelled") -> None:
        """Take a waiting job out, stop a running one at its next tile or step; an ended one stays as it is."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
            elif job is self._running:
                job.stop = reason
            self._changed.notify_all()

    def remove(self, job: WebJob) -> None:
        """Forget a job and its files; a running one is stopped first, and forgotten when it has."""
        self.cancel(job)
        with self._changed:
            if job.state in ENDED:
                self._forget(job)
            else:
                job.ended = -math.inf  # forgotten as soon as it ends

    def changes(self, job: WebJob, known: int = -1, heartbeat: float = 15.0) -> Iterator[Snapshot | None]:
        """Every state of a job that is newer than version `known`, as they come, until it has ended.

        Yields:
            A snapshot, or None where nothing has changed for `heartbeat` seconds.
        """
        while True:
            with self._changed:
                newer = self._changed.wait_for(partial(self._is_newer, job, known), heartbeat)
                found = self._snapshot(job) if newer else None
                known = self._seen(job)
            yield found
            if found and (found.state in ENDED or self._closed):
                return

    def wait(self, job: WebJob, seconds: float) -> Snapshot:
        """The job when it has ended, or as it stands after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: job.state in ENDED or self._closed, seconds)
            return self._snapshot(job)

    @property
    def length(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return len(self._waiting) + (self._running is not None)

    @property
    def kept(self) -> int:
        """Jobs whose files are here."""
        with self._changed:
            self._expire()
            return len(self._jobs)

    # ------------------------------------------------------------------------------------------------- the worker

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, 60)
                self._expire()
                if self._closed:
                    return
                if not self._waiting:
                    continue
                job = self._running = self._waiting.pop(0)
                job.state, job.started = "running", time.monotonic()
                job.version += 1
                self._changed.notify_all()
            state, reason = self._run(job)
            with self._changed:
                self._running = None
                if state == "done":
                    self._usual += _SHARE_OF_NEW * (time.monotonic() - job.started - self._usual)
                removed = job.ended < 0
                self._end(job, state, reason)
                if removed:
                    self._forget(job)

    def _run(self, job: WebJob) -> tuple[State, str]:
        deadline = job.started + self.limits.seconds

        def on_progress(progress: Progress) -> None:
            with self._changed:
                if not job.stop and time.monotonic() > deadline:
                    job.stop = f"it took more than {self.limits.seconds:g} seconds"
                if job.stop:
                    raise StopRestoration(job.stop)
                if progress.stage != job.stage:
                    job.stage, job.stage_started = progress.stage, time.monotonic()
                job.done, job.total = progress.done, progress.total
                job.version += 1
                self._changed.notify_all()

        try:
            job.work(job, on_progress)
        except StopRestoration as stopped:
            return ("cancelled", "") if stopped.reason == "cancelled" else ("failed", stopped.reason)
        except SeesrError as error:
            return "failed", str(error)
        except MemoryError:
            return "failed", "there is not enough memory for a picture of that size"
        except Exception as error:  # one bad photo must not end the server
            logger.exception("job %s failed", job.id)
            return "failed", f"the restoration broke ({type(error).__name__})"
        return "done", ""

    def _end(self, job: WebJob, state: State, reason: str = "") -> None:
        job.state, job.error, job.ended = state, reason, time.monotonic()
        job.version += 1
        job.photo.unlink(missing_ok=True)  # the photo has served
        self._changed.notify_all()
        self.on_end(job)

    # ------------------------------------------------------------------------------------------------- with the lock

    def _check_room(self, visitor: str) -> None:
        if len(self._waiting) >= self.limits.waiting:
            raise BusyError("the queue is full; try again later", self._seconds_until(1))
        if sum(job.visitor == visitor for job in self._jobs.values()) >= self.limits.per_visitor:
            raise BusyError(
                f"you have {self.limits.per_visitor} pictures here already; remove some, or wait until they expire",
                self._seconds_until(1),
            )

    def _seconds_until(self, jobs: int) -> int:
        """About how long it takes until as many jobs have ended."""
        return max(1, round(self._usual * jobs))

    def _is_newer(self, job: WebJob, known: int) -> bool:
        return self._closed or self._seen(job) != known

    def _seen(self, job: WebJob) -> int:
        return 1000 * job.version + (self._waiting.index(job) if job in self._waiting else 0)

    def _snapshot(self, job: WebJob) -> Snapshot:
        now = time.monotonic()
        position = 1 + self._waiting.index(job) if job in self._waiting else 0
        left: float | None = None
        if job.state == "waiting":
            left = self._usual * position
        elif job.state == "running" and 0 < job.done < job.total:
            left = (now - job.stage_started) / job.done * (job.total - job.done)
        seconds = (job.ended if job.state in ENDED else now) - job.started if job.started else 0.0
        return Snapshot(
            job.id,
            job.name,
            job.state,
            position,
            job.stage,
            job.done,
            job.total,
            left,
            seconds,
            job.error,
            self._seen(job),
        )

    def _expire(self) -> None:
        now = time.monotonic()
        for job in list(self._jobs.values()):
            if job.state in ENDED and now - job.ended > self.limits.keep_seconds:
                self._forget(job)

    def _forget(self, job: WebJob) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)
