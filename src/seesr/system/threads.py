"""Threads that wait for one another sleep instead of spinning, so that a busy machine does not slow them tenfold.

PyTorch runs on the CPU in teams of OpenMP threads, which meet at the end of every operation. By default a thread that
comes first keeps its core busy while it waits. Where another process needs that core, the thread that is waited for
does not get to run. `benchmarks/busy.py` measures both.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from threading import Thread

_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_asleep() -> None:
    """Set OMP_WAIT_POLICY=passive for this process and those it starts.

    Does nothing where the user has set how threads wait, or where PyTorch is loaded: OpenMP reads its variables once.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def import_beside(module: str) -> None:
    """Begin to import a slow module in a thread of its own; who imports it later waits for the rest of it only."""

    def run() -> None:
        with suppress(Exception):  # the import that needs the module says what is wrong
            import_module(module)

    if module not in sys.modules:
        Thread(target=run, name=f"import of {module}").start()
