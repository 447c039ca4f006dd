"""Ray, started on this machine or joined, and what it has to give."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from seesr.apps.progress import say
from seesr.errors import SeesrError

MISSING = "to run jobs on Ray: pip install 'seesr[cluster]'"
_NAMES = 256 << 20  # bytes of shared memory that Ray takes on one machine: it passes on names, not pictures
_PATIENCE = 5.0  # seconds in which a cluster's head has to answer
_TRIES = 2  # on a busy machine Ray's processes may not all be up within Ray's half a minute
_CORES = 4  # of a process without a GPU, if there are as many


@dataclass(frozen=True)
class Pool:
    """Processes that restore: how many, and what each gets. gpus: a share of one, or several. cpus: cores."""

    actors: int
    gpus: float
    cpus: int


@contextmanager
def ray_running(address: str | None) -> Iterator[bool]:
    """Ray within the block: started here and ended again, or the cluster at `address`; whether it was started here.

    Raises:
        SeesrError: Ray is not installed, no cluster answers, or Ray does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else its core writes to the terminal
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SeesrError(f"{MISSING} ({error})") from error
    if ray.is_initialized():
        yield True
        return
    if address is not None:
        _check_answers(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        quiet |= {"include_dashboard": False, "object_store_memory": _NAMES}
    for tries in reversed(range(_TRIES)):
        try:
            with _no_lines():
                ray.init(address=address or "local", **quiet)
            break
        except Exception as error:
            ray.shutdown()
            if tries and address is None:
                continue
            reason = " ".join(str(error).split())[:300]
            if address is None:
                raise SeesrError(f"Ray does not start here ({reason})") from error
            raise SeesrError(
                f"no Ray cluster lets this command in at {address} ({reason}); "
                "check that it runs, and whether Ray asks for a token (RAY_AUTH_MODE)"
            ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is told in our words
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield address is None
    finally:
        ray.shutdown()


def choose_pool(actors: int | None, gpus: float | None, cpus: int | None, fixed: bool) -> Pool:
    """How many processes restore, and with what; None: what the machines have is shared out.

    Args:
        fixed: no machine will join.

    Raises:
        SeesrError: the one machine has less than is asked for.
    """
    import ray

    about: Any = ray  # these two have no types
    whole: dict[str, float] = about.cluster_resources()
    all_gpus, all_cpus = whole.get("GPU", 0.0), int(whole.get("CPU", 1))
    if gpus is None:
        gpus = 1.0 if all_gpus else 0.0
    if cpus is None:
        cores = [int(node["Resources"].get("CPU", 1)) for node in about.nodes() if node["Alive"]]
        cpus = 1 if gpus else max(1, min(_CORES, *cores, *cores))
    room = int(all_gpus / gpus + 1e-9) if gpus else all_cpus // cpus
    if actors is None:
        actors = max(1, room)
    if room < actors:
        have = f"{all_gpus:g} GPUs" if gpus else f"{all_cpus} cores"
        if fixed:
            each = f"{gpus:g} GPUs" if gpus else f"{cpus} cores"
            raise SeesrError(
                f"{actors} processes with {each} each are more than the {have} of this machine; "
                "lower --actors, --gpus-per-actor or --cpus-per-actor"
            )
        say(f"note: the cluster has {have} now, room for {room} of {actors} processes; the rest waits for machines")
    return Pool(actors, gpus, cpus)


@contextmanager
def _no_lines() -> Iterator[None]:
    """Nothing reaches the terminal's error output, as what Ray's core says of its log level."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _check_answers(address: str) -> None:
    """Ray itself waits for minutes, and then ends the program.

    Raises:
        SeesrError: nothing listens at `address`.
    """
    if address == "auto":
        return
    if "://" in address:
        raise SeesrError(
            f"--address cannot be {address!r}; run on a machine of the cluster with its head's address, HOST:6379, or "
            "submit the command with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SeesrError(f"--address cannot be {address!r}; give HOST:PORT, as in 10.0.0.5:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SeesrError(f"no Ray cluster at {address} ({reason}); start one with `ray start --head`") from error
