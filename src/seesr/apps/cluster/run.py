"""A cluster job from its table of photos to its last line."""

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from seesr.apps.cluster.ledger import RemoteLedger
from seesr.apps.cluster.manifest import FOLDER, Manifest
from seesr.apps.cluster.rays import Pool
from seesr.apps.cluster.worker import RestoreBatch, Task
from seesr.apps.jobs.run import GO_ON, INTERRUPTED
from seesr.apps.jobs.summary import Summary
from seesr.apps.jobs.work import ended_by_request
from seesr.apps.options import in_options
from seesr.apps.progress import RestorationBars, say
from seesr.errors import SeesrError

_ROUNDS = 4  # batches a process gets at least, so that all end at about the same time
_BLOCKS = 16  # pieces of the table a process gets in all, if there are enough: Ray hands out each by itself
_TOLD = 10  # failures that are told as they come


def in_blocks(jobs: pa.Table, actors: int, batch: int) -> tuple[list[pa.Table], int]:
    """(the table in pieces, photos of a batch): each process gets several of both, and Ray few enough pieces."""
    batch = max(1, min(batch, len(jobs) // (_ROUNDS * actors)))
    rows = max(1, len(jobs) // (_BLOCKS * actors * batch)) * batch
    return [jobs.slice(start, rows) for start in range(0, len(jobs), rows)], batch


def restore_jobs(jobs: pa.Table, task: Task, pool: Pool, batch: int) -> Iterator[pa.Table]:
    """Have Ray restore the photos of `jobs` (`plan.JOBS`); the rows of each finished piece, with their parts.

    Raises:
        SeesrError: all that follows would fail.
    """
    import ray.data

    blocks, batch = in_blocks(jobs, pool.actors, batch)
    pool_size = min(pool.actors, len(blocks))
    share: dict[str, Any] = {"num_gpus": pool.gpus} if pool.gpus else {"num_cpus": pool.cpus}
    restored = ray.data.from_arrow(blocks).map_batches(
        RestoreBatch,
        fn_constructor_args=(task, RemoteLedger()),
        batch_size=batch,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool_size, max_tasks_in_flight_per_actor=2),
        **share,
    )
    try:
        yield from restored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except Exception as error:
        raise user_error(error) from error


def run_jobs(
    jobs: pa.Table, before: int, listing_problems: list[str], task: Task, manifest: Manifest, pool: Pool, batch: int
) -> int:
    """Restore photos, telling what is done; returns the exit code: 0, or 130 after Ctrl-C.

    Args:
        before: photos that are done already.
        listing_problems: what could not be listed, a line each.

    Raises:
        SeesrError: some photos failed, or the job could not go on.
    """
    summary = Summary(len(jobs) + before, skipped=before)
    stopped, reason = False, None
    with RestorationBars(len(jobs)) as bars, ended_by_request():
        for problem in listing_problems:
            bars.say(f"failed: {problem}", "red")
        try:
            for rows in restore_jobs(jobs, task, pool, batch):
                manifest.add(rows)
                _count(rows, summary, bars, task)
            manifest.finish()
        except KeyboardInterrupt:
            stopped = True
            manifest.merge()
        except SeesrError as error:
            reason = error
            manifest.merge()
    done = f"{summary.finished()} of {summary.total} photos are done, and {GO_ON}"
    if stopped:
        say(f"stopped: {done}")
        return INTERRUPTED
    for line in summary.lines():
        say(line)
    if reason is not None:
        raise SeesrError(f"stopped: {reason}; {done}") from reason
    failed = len(summary.failed)
    if failed or listing_problems:
        told = (
            f"{failed} of {summary.total} photos failed; {manifest.place.name(FOLDER)} tells why, the others are done"
        )
        raise SeesrError(told if failed else "not all could be listed, as told above; the others are done")
    return 0


def _count(rows: pa.Table, summary: Summary, bars: RestorationBars, task: Task) -> None:
    for row in rows.select(["source", "error", "width", "height"]).to_pylist():
        bars.finish()
        if row["error"] is not None:
            name = f"{task.source}/{row['source']}"
            summary.failed.append(row["error"] if name in row["error"] else f"{name}: {row['error']}")
            if len(summary.failed) <= _TOLD:
                bars.say(in_options(f"failed: {summary.failed[-1]}"), "red")
        elif row["width"] is None:
            summary.left += 1
        else:
            summary.done += 1
            summary.pixels += row["width"] * row["height"]


def user_error(error: BaseException) -> SeesrError:
    """The user's error in what Ray raises: the cause of causes, or a line of a dead process's traceback."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SeesrError):
            return SeesrError(
                str(cause.args[0] if cause.args else cause).splitlines()[-1].rpartition("SeesrError: ")[2]
            )
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    named = re.findall(r"SeesrError: (.*)", str(error))
    return SeesrError(
        named[-1] if named else f"Ray ended the job ({lines[-1][:300] if lines else type(error).__name__})"
    )
