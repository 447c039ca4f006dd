"""The queue of the web server: turns, progress, cancelling, limits, files that go."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from seesr.apps.web.job_queue import Queue
from seesr.apps.web.jobs import BusyError, Limits, WebJob
from seesr.errors import SeesrError
from seesr.restoration.outputs import Progress

Callback = Callable[[Progress], None]


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue(Limits(waiting=2, per_visitor=3, seconds=30)) as made:
        yield made


class Held:
    """Work that runs until it is let go, telling its progress all the time."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, job: WebJob, callback: Callback) -> None:
        callback(Progress("enlarge", 1, 4))
        self.begun.set()
        while not self.go.wait(0.01):
            callback(Progress("enlarge", 1, 4))


def quick(job: WebJob, callback: Callback) -> None:
    callback(Progress("tags", 1, 1))
    (job.folder / "result").write_bytes(job.photo.read_bytes()[::-1])


def test_jobs_run_in_turn_and_tell_their_place(queue: Queue) -> None:
    held = Held()
    first = queue.submit("a", "1.png", b"abc", held)
    assert held.begun.wait(5)
    second, third = (queue.submit(visitor, "x.png", b"abc", quick) for visitor in "ab")
    assert [queue.snapshot(job).position for job in (first, second, third)] == [0, 1, 2]
    running = queue.snapshot(first)
    assert (running.state, running.stage, running.total) == ("running", "enlarge", 4)
    assert queue.length == 3
    held.go.set()
    assert queue.wait(third, 10).state == "done"
    assert (third.folder / "result").read_bytes() == b"cba"
    assert not third.photo.exists()  # only the result is kept
    assert queue.length == 0


def test_a_full_queue_and_a_greedy_visitor_are_told_when_to_come_back(queue: Queue) -> None:
    held = Held()
    queue.submit("a", "1.png", b"x", held)
    assert held.begun.wait(5)
    for _ in range(2):
        queue.submit("a", "2.png", b"x", quick)
    with pytest.raises(BusyError, match="queue is full") as full:
        queue.submit("b", "3.png", b"x", quick)
    assert full.value.retry_after >= 1
    held.go.set()
    while queue.length:
        time.sleep(0.01)
    with pytest.raises(BusyError, match="3 pictures here"):
        queue.submit("a", "4.png", b"x", quick)
    assert queue.wait(queue.submit("b", "5.png", b"x", quick), 10).state == "done"


def test_cancelling_stops_what_runs_and_takes_out_what_waits(queue: Queue) -> None:
    held = Held()
    running, waiting = queue.submit("a", "1.png", b"x", held), queue.submit("a", "2.png", b"x", quick)
    assert held.begun.wait(5)
    queue.cancel(waiting)
    assert queue.snapshot(waiting).state == "cancelled"
    queue.cancel(running)
    assert queue.wait(running, 10).state == "cancelled"
    assert queue.wait(queue.submit("a", "3.png", b"x", quick), 10).state == "done"  # the worker lives on


def test_a_running_job_that_is_removed_leaves_no_files(queue: Queue) -> None:
    held = Held()
    job = queue.submit("a", "1.png", b"x", held)
    assert held.begun.wait(5)
    queue.remove(job)
    while job.folder.exists():
        time.sleep(0.01)
    assert queue.get(job.id) is None


def test_failures_are_reasons_and_never_end_the_worker(queue: Queue) -> None:
    def refused(job: WebJob, callback: Callback) -> None:
        raise SeesrError("the picture is damaged")

    def broken(job: WebJob, callback: Callback) -> None:
        raise ZeroDivisionError("secret details")

    assert queue.wait(queue.submit("a", "1.png", b"x", refused), 10).error == "the picture is damaged"
    found = queue.wait(queue.submit("a", "2.png", b"x", broken), 10)
    assert (found.state, found.error) == ("failed", "the restoration broke (ZeroDivisionError)")
    assert queue.wait(queue.submit("b", "3.png", b"x", quick), 10).state == "done"


def test_a_job_that_takes_too_long_is_stopped() -> None:
    with Queue(Limits(seconds=0.05)) as queue:
        found = queue.wait(queue.submit("a", "1.png", b"x", Held()), 10)
    assert (found.state, found.error) == ("failed", "it took more than 0.05 seconds")


def test_results_expire_and_the_end_removes_everything() -> None:
    with Queue(Limits(keep_seconds=0.05)) as queue:
        job = queue.submit("a", "1.png", b"x", quick)
        assert queue.wait(job, 10).state == "done"
        time.sleep(0.06)
        assert queue.get(job.id) is None
        assert not job.folder.exists()
        root = queue.root
        held = Held()
        queue.submit("a", "2.png", b"x", held)
        assert held.begun.wait(5)
    assert not root.exists()


def test_changes_end_with_the_job(queue: Queue) -> None:
    held = Held()
    job = queue.submit("a", "1.png", b"x", held)
    assert held.begun.wait(5)
    threading.Timer(0.1, held.go.set).start()
    seen = [found.state for found in queue.changes(job) if found]
    assert seen[0] == "running"
    assert seen[-1] == "done"
