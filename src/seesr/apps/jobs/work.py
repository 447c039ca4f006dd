"""The work of a job: while one photo is restored the next is read and the last is written.

A reader and a writer thread stand around the one restorer, with room for one photo between each two, so that memory
does not grow with the number of photos. Photos go through the networks one by one: on a processor several at once are
no faster, and another batch size rounds differently.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from types import FrameType
from typing import BinaryIO, Generic, TypeVar

from seesr.apps.jobs.database import Kind, Print
from seesr.apps.jobs.folder import Job, Plan
from seesr.apps.jobs.manifest import Manifest
from seesr.apps.jobs.restore import Finished, Opened, RestoreOptions, open_photo, reason_of, restore_photo, write_result
from seesr.apps.jobs.summary import DAY, SHARE, Summary, duration
from seesr.apps.jobs.trouble import Repeated, same_for_all
from seesr.apps.progress import RestorationBars
from seesr.apps.prompt_files import prompts_path
from seesr.errors import SeesrError
from seesr.restoration.restorer import Restorer
from seesr.system.atomic import announcing

_HASHED = 64 << 20  # bytes up to which a source's content is hashed, besides its size and time


class Stopped(Exception):
    """The user ended the job; what is done is whole."""


@dataclass(frozen=True)
class _Read:
    job: Job
    found: Print
    opened: Opened


@dataclass(frozen=True)
class _Restored:
    read: _Read
    finished: Finished
    seconds: float


T = TypeVar("T")


class _Belt(Generic[T]):
    """A bounded queue that ends: `close` by the one who puts, `over` for all."""

    def __init__(self, over: threading.Event) -> None:
        self._queue: Queue[T | None] = Queue(maxsize=1)
        self._over = over

    def put(self, item: T | None) -> bool:
        """False if the job is over."""
        while not self._over.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                item = self._queue.get(timeout=0.1)
            except Empty:
                if self._over.is_set():
                    return
                continue
            if item is None:
                return
            yield item


class Work:
    """One run over a plan."""

    def __init__(
        self, restorer: Restorer, plan: Plan, options: RestoreOptions, manifest: Manifest, bars: RestorationBars
    ) -> None:
        self.restorer, self.plan, self.options, self.manifest, self.bars = restorer, plan, options, manifest, bars
        self.summary = Summary(len(plan))
        self.error: BaseException | None = None  # of the only photo
        self.reason: str | None = None  # why all that follow would fail
        self._over = threading.Event()  # nothing new is begun
        self._finished = threading.Event()  # the writer has nothing to wait for
        self._read: _Belt[_Read] = _Belt(self._over)
        self._restored: _Belt[_Restored] = _Belt(self._finished)
        self._repeated = Repeated()
        self._told_long = False
        self._counting = threading.Lock()

    def run(self) -> None:
        """Do it.

        Raises:
            Stopped: by Ctrl-C or a request to end; photos that were restored by then are written.
        """
        reader = threading.Thread(target=self._guarded, args=(self._reading,), name="reader", daemon=True)
        writer = threading.Thread(target=self._guarded, args=(self._writing,), name="writer", daemon=True)
        with ended_by_request():
            reader.start()
            writer.start()
            stopped = False
            try:
                self._restoring()
            except KeyboardInterrupt:
                stopped = True
                self._over.set()
            with _ignoring_requests():
                self._over.set()
                self._restored.put(None)
                writer.join()
                self._finished.set()
                reader.join(timeout=5)
        if stopped:
            raise Stopped

    # ------------------------------------------------------------------------------------------- the three parts

    def _reading(self) -> None:
        for job in self.plan:
            if self._over.is_set():
                return
            found = None
            try:
                if job.problem:
                    raise SeesrError(f"{job.source}: {job.problem}")
                found = Print.of(job.source)
                read = self._open(job, found)
            except OSError as error:
                reason = SeesrError(f"{job.source}: cannot be read ({error.strerror or error})")
                reason.__cause__ = error
                self._fail(job, found, reason, counts=False)
            except Exception as error:
                self._fail(job, found, error, counts=False)
            else:
                if read is not None and not self._read.put(read):
                    return
        self._read.put(None)

    def _open(self, job: Job, found: Print) -> _Read | None:
        """The photo, read; None, and counted, if there is nothing to do."""
        if not self.options.overwrite:
            if is_done(self.manifest, job, found):
                self._pass("skipped")
                return None
            if job.target.exists() and not self.manifest.is_ours(job.target):
                raise SeesrError(f"{job.target}: was changed since it was written; --overwrite replaces it")
        if found.size <= _HASHED:
            found = Print.of(job.source, hashed=True)
        if not self.manifest.claim(job.target, job.source, found):
            self._pass("others")
            return None
        opened = open_photo(self.restorer, job, self.options)
        if opened is None:
            self._pass("left")
            return None
        return _Read(job, found, opened)

    def _restoring(self) -> None:
        for read in self._read:
            if self._over.is_set():  # it was read before an error that is the same for all
                return
            self.bars.start(read.job.source.name)
            began = time.perf_counter()
            try:
                finished = restore_photo(self.restorer, read.opened, self.options, self.bars.on_event)
            except Exception as error:
                self._fail(read.job, read.found, error)
            else:
                self._restored.put(_Restored(read, finished, time.perf_counter() - began))

    def _writing(self) -> None:
        for item in self._restored:
            read = item.read
            job = read.job
            try:

                def told(file: BinaryIO, path: Path, read: _Read = read) -> None:
                    made: Kind = "report" if path == prompts_path(read.job.target) else "result"
                    made = "sheet" if path == read.job.sheet else made
                    self.manifest.announce(path, read.job.source, read.found, file, made)

                with announcing(told):
                    notes = write_result(read.opened, item.finished, job, self.options)
                beside = [job.sheet] if job.sheet else []
                beside += [prompts_path(job.target)] if self.options.save_prompts else []
                self.manifest.done(job.target, *beside)
            except Exception as error:
                self._fail(job, read.found, error)
                continue
            with self._counting:
                self.summary.done += 1
                self.summary.pixels += read.opened.size[0] * read.opened.size[1]
                self._repeated.done()
            self._tell(item, notes)
            if not self._told_long and (left := self.summary.seconds_left()) > DAY:
                self._told_long = True
                self.bars.say(f"note: at this pace {duration(left)} are left; {SHARE}")
            self.bars.finish()

    # ---------------------------------------------------------------------------------------------------- telling

    def _tell(self, item: _Restored, notes: list[str]) -> None:
        job, size, before = item.read.job, item.read.opened.size, item.read.opened.photo.rgb
        sizes = f"{before.width}x{before.height} to {size[0]}x{size[1]}"
        self.bars.say(f"{job.source} → {job.target}  ({sizes}, {item.seconds:.1f} s)")
        if job.sheet:
            self.bars.say(f"  side by side: {job.sheet}", "dim")
        if item.finished.result.tags[0]:
            self.bars.say(f"  saw {', '.join(tag.name for tag in item.finished.result.tags[0])}", "dim")
        for note in notes:
            self.bars.say(f"  note: {note}")

    def _pass(self, what: str) -> None:
        with self._counting:
            setattr(self.summary, what, getattr(self.summary, what) + 1)
        self.bars.drop()

    def _fail(self, job: Job, found: Print | None, error: Exception, counts: bool = True) -> None:
        """Count and tell a failure; `counts`: towards those that are the same for all."""
        reason = reason_of(error)
        line = reason if str(job.source) in reason else f"{job.source}: {reason}"
        with self._counting:
            if self._over.is_set() and self.reason:
                return  # the first was told
            fatal = same_for_all(error, self.plan.folder)
            if fatal is None and counts and len(self.plan) > 1:
                names = str(job.source), str(job.target), job.source.name
                fatal = self._repeated.failed(reason, *names)
            self.summary.failed.append(line)
            if fatal is not None:
                self.reason = fatal
                self._over.set()
        if len(self.plan) == 1:
            self.error = error if line == reason and isinstance(error, SeesrError) else _named(error, line)
            return
        with suppress(SeesrError):  # the disk is full: told already
            self.manifest.failed(job.target, job.source, found, reason)
        self.bars.say(f"failed: {line}", "red")
        self.bars.finish()

    def _guarded(self, part: Callable[[], None]) -> None:
        """A thread that cannot die unnoticed."""
        try:
            part()
        except BaseException as error:
            self.error = self.error or error
            self._over.set()
            self._finished.set()


def is_done(manifest: Manifest, job: Job, found: Print) -> bool:
    """Whether nothing is left to do for a photo."""
    if not manifest.is_done(job.target, job.source, found):
        return False
    return job.sheet is None or manifest.has_sheet(job.sheet)


def _named(error: Exception, line: str) -> Exception:
    """A user's error with the photo's name; an unforeseen one as it is."""
    if not isinstance(error, SeesrError):
        return error
    named = SeesrError(line)
    named.__cause__ = error
    return named


@contextmanager
def ended_by_request() -> Iterator[None]:
    """A request to end (SIGTERM, as of services and containers) is taken as Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ignoring_requests() -> Iterator[None]:
    """While restored photos are being written, which takes a moment, another Ctrl-C changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
