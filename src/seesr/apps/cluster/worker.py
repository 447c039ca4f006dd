"""What each process of a cluster job does: it loads the model once, and restores batches of photos named to it.

Photos go through the networks one by one, by the functions of `seesr upscale`, so the files are the same: several at
once round differently. While one is restored the next is fetched and the last is encoded. A batch's results lie in a
temporary folder until all are there. Then its rows are written, then its pictures are put.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from seesr import __version__
from seesr.apps.cluster.ledger import DEADLY, Ledger
from seesr.apps.cluster.manifest import PART, digest_of, is_there, part_name, read_table, table_of, write_table
from seesr.apps.cluster.places import Place
from seesr.apps.jobs.folder import Job
from seesr.apps.jobs.restore import Finished, Opened, RestoreOptions, open_photo, reason_of, restore_photo, write_result
from seesr.apps.jobs.run import make_recipe
from seesr.apps.jobs.trouble import Repeated, same_for_all
from seesr.checkpoints.registry import resolve
from seesr.devices import choose_device, choose_dtype
from seesr.errors import SeesrError
from seesr.loading import load_restorer, resolve_settings
from seesr.restoration.restorer import Restorer

_PUTS = 8  # pictures of a batch that are on their way at once
_SCRATCH = "seesr-cluster-"


@dataclass(frozen=True)
class Task:
    """What all processes of a job are told.

    source, target: URLs. options, model, profile, enlarger, dtype: as of `seesr upscale`. exact: dtype "auto" means
    float32 on a processor. gpu: whether to restore on a GPU. threads: of a process without one. version: the package's.
    recipe: digest of what makes the results; "" where it is asked for. run: of the manifest.
    """

    source: str
    target: str
    options: RestoreOptions
    model: str
    profile: str | None
    enlarger: Path | None
    dtype: str
    exact: bool
    gpu: bool = False
    threads: int = 1
    version: str = __version__
    recipe: str = ""
    run: str = ""


@dataclass(frozen=True)
class Described:
    """What a machine makes results of. recipe: settings and model (`Recipe.settings`, `Recipe.model`)."""

    version: str
    dtype: str
    settings: dict[str, Any]
    model: str


def describe(task: Task) -> Described:
    """What makes the results of a job on the machine that runs this.

    Raises:
        SeesrError: it has no such model, or no GPU.
    """
    place = choose_device("cuda" if task.gpu else "cpu")
    dtype = str(choose_dtype(task.dtype, place, task.exact)).removeprefix("torch.")
    recipe = make_recipe(task.options, task.model, resolve(task.model), dtype, task.enlarger)
    return Described(__version__, dtype, recipe.settings, recipe.model)


def load(task: Task) -> Restorer:
    """The model of a job.

    Raises:
        SeesrError: it cannot be loaded here, or is another here than where the job was begun.
    """
    import torch

    from seesr.apps.jobs.database import Recipe

    here = describe(task)
    if here.version != task.version:
        raise SeesrError(
            f"{socket.gethostname()}: has seesr {here.version}, not {task.version}; install the same on all machines"
        )
    if Recipe(here.settings, here.model).digest != task.recipe:
        raise SeesrError(
            f"{socket.gethostname()}: has another model called {task.model}, or another number format ({here.dtype}), "
            "than the rest; give all machines the same files, and --dtype"
        )
    if not task.gpu:
        torch.set_num_threads(task.threads)
    given = {name: value for name, value in task.options.settings.items() if name != "profile"}
    resolved = resolve_settings(task.model, task.profile, given)
    dtype, place = choose_dtype(here.dtype, torch.device("cpu")), choose_device("cuda" if task.gpu else "cpu")
    steps, engine = resolved.num_inference_steps, resolved.engine
    return load_restorer(task.model, dtype, place, task.profile, steps, task.enlarger, engine)


@dataclass(frozen=True)
class _Read:
    job: Job
    row: dict[str, Any]
    opened: Opened | None


class RestoreBatch:
    """A function for `Dataset.map_batches`: photos to restore (`plan.JOBS`) → rows of the manifest, and their part.

    Raises:
        SeesrError: from a call, where all that follow would fail: the target cannot be written, the model is not here.
    """

    def __init__(self, task: Task, ledger: Ledger, loading: Callable[[Task], Restorer] = load) -> None:
        self.task, self.ledger = task, ledger
        self.source, self.target = Place(task.source), Place(task.target)
        self._loading, self._repeated = loading, Repeated()
        _remove_abandoned()

    @cached_property
    def restorer(self) -> Restorer:
        """The model, loaded with the first batch: of an error there Ray gives the driver nothing but the error."""
        return self._loading(self.task)

    def __call__(self, batch: pa.Table) -> pa.Table:
        self.restorer  # noqa: B018  before a batch is counted as begun
        jobs = batch.to_pylist()
        part = part_name(self.task.run, [job["source"] for job in jobs])
        careful = self.ledger.begin(part) > 0
        rows = self._rows_before(part) if careful else []
        done = {row["source"] for row in rows}
        with _scratch() as scratch:
            made, fatal = self._restore([job for job in jobs if job["source"] not in done], scratch, careful)
            rows += made
            write_table(self.target, part, table_of(rows))
            with ThreadPoolExecutor(_PUTS) as pool:
                list(pool.map(self._put, _files(made, scratch)))
        if fatal is not None:
            raise SeesrError(fatal)
        return table_of(rows).append_column(PART, pa.array([part] * len(rows), PART.type))

    def _rows_before(self, part: str) -> list[dict[str, Any]]:
        """Rows of a batch that another process began, as far as its pictures were put."""
        if self.target.size(part) is None:
            return []
        rows: list[dict[str, Any]] = read_table(self.target, part).to_pylist()
        return [row for row in rows if is_there(self.target, row, self.target.size(row["result"]))]

    def _restore(
        self, jobs: list[dict[str, Any]], scratch: Path, careful: bool
    ) -> tuple[list[dict[str, Any]], str | None]:
        """(rows, why all that follow would fail); results lie in `scratch`."""
        rows: list[dict[str, Any]] = []
        fatal: str | None = None
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            writing: Future[None] | None = None
            numbered = list(enumerate(jobs))

            def open_one(item: tuple[int, dict[str, Any]]) -> _Read:
                return self._read(*item, scratch, careful)

            for read in map(open_one, numbered) if careful else _ahead(reader, open_one, numbered):
                rows.append(read.row)
                if read.opened is None:
                    continue
                began = time.perf_counter()
                try:
                    finished = restore_photo(self.restorer, read.opened, self.task.options, lambda event: None)
                except Exception as error:
                    fatal = self._fail(read, error, scratch)
                    if fatal:
                        break
                    continue
                read.row["seconds"] = time.perf_counter() - began
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._write, read, read.opened, finished)
                if careful:
                    writing.result()
                    self.ledger.settle(read.row["source"])
            if writing is not None:
                writing.result()
        return rows, fatal

    def _read(self, number: int, job: dict[str, Any], scratch: Path, careful: bool) -> _Read:
        """A photo fetched, decoded and checked; its error in the row if that cannot be."""
        folder = scratch / str(number)
        (folder / "in").mkdir(parents=True)
        (folder / "out").mkdir()
        row: dict[str, Any] = {
            **{name: job[name] for name in ("source", "result", "version")},
            "recipe": self.task.recipe,
            "size": job["older"],
            "replaces": job["older"] is not None,
            "digest": None,
            "tags": [],
            "notes": [],
            "error": None,
            "time": time.time(),
        }
        target = folder / "out" / _name(job["result"])
        placed = Job(
            folder / "in" / _name(job["source"]),
            target,
            target.with_name(_name(job["sheet"])) if job["sheet"] else None,
        )
        opened = None
        try:
            if careful and self.ledger.touch(job["source"]) >= DEADLY:
                raise SeesrError("killed the processes that restored it; it may need more memory than there is")
            placed = Job(self.source.fetch(job["source"], folder / "in"), target, placed.sheet)
            opened = open_photo(self.restorer, placed, self.task.options)
            if opened is None:
                row["size"] = None
        except Exception as error:
            self._say(row, error, placed)
        return _Read(placed, row, opened)

    def _write(self, read: _Read, opened: Opened, finished: Finished) -> None:
        """A result as a file in the temporary folder, and what the row tells of it."""
        row, options = read.row, self.task.options
        try:
            row["notes"] = [
                self._named(note, read.job, row) for note in write_result(opened, finished, read.job, options)
            ]
            content = read.job.target.read_bytes()
        except Exception as error:
            self._say(row, error, read.job)
            for file in read.job.target.parent.iterdir():
                file.unlink()
            if fatal := same_for_all(error, read.job.target.parent):
                raise SeesrError(fatal) from error
            return
        self._repeated.done()
        row["size"], row["digest"] = len(content), digest_of(content)
        row["width"], row["height"] = opened.size
        row["tags"] = [tag.name for tag in finished.result.tags[0]]
        row["time"] = time.time()

    def _fail(self, read: _Read, error: Exception, scratch: Path) -> str | None:
        """Note a failed restoration; why all that follow would fail, if so."""
        self._say(read.row, error, read.job)
        names = str(read.job.source), str(read.job.target), read.job.source.name
        fatal = same_for_all(error, scratch) or self._repeated.failed(read.row["error"], *names)
        return fatal and f"{fatal} ({self.source.name(read.row['source'])})"

    def _put(self, files: list[tuple[Path, str]]) -> None:
        for file, key in files:
            self.target.put(file, key)

    def _say(self, row: dict[str, Any], error: Exception, job: Job) -> None:
        row["error"] = self._named(reason_of(error), job, row)

    def _named(self, text: str, job: Job, row: dict[str, Any]) -> str:
        """A message with the places that the user knows in place of temporary ones."""
        text = text.replace(str(job.target.parent), self.target.name(row["result"].rpartition("/")[0]))
        return text.replace(str(job.source), self.source.name(row["source"]))


def _files(rows: list[dict[str, Any]], scratch: Path) -> Iterator[list[tuple[Path, str]]]:
    """Files of each photo to put, with their keys; what stands beside a result before the result."""
    for number, row in enumerate(rows):
        if row["digest"] is not None:
            folder, _, name = row["result"].rpartition("/")
            made = sorted((scratch / str(number) / "out").iterdir(), key=lambda file: file.name == name)
            yield [(file, f"{folder}/{file.name}" if folder else file.name) for file in made]


def _ahead(pool: ThreadPoolExecutor, run: Callable[[Any], _Read], items: list[Any]) -> Iterator[_Read]:
    """`run` of each item, the next of which is begun while the caller works on one."""
    waiting: Future[_Read] | None = None
    for item in items:
        begun = pool.submit(run, item)
        if waiting is not None:
            yield waiting.result()
        waiting = begun
    if waiting is not None:
        yield waiting.result()


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder, named after this process."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Remove the temporary folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        number = folder.name.removeprefix(_SCRATCH).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            with suppress(OSError):
                shutil.rmtree(folder)


def _name(key: str) -> str:
    return key.rpartition("/")[2]
