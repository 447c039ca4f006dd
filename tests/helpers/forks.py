"""Processes forked from that of the tests: they have all its imports, which take longer than most of what is tested."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch


def fork(run: Callable[[], object], messages: Path = Path(os.devnull)) -> int:
    """`run` in a process of its own, whose output goes to the file `messages`. Returns the process's number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        said = os.open(messages, os.O_WRONLY | os.O_CREAT, 0o666)
        os.dup2(said, 1), os.dup2(said, 2)
        sys.stdout = sys.stderr = os.fdopen(said, "w", buffering=1)  # pytest has its own in their place
        torch.set_num_threads(1)  # teams of OpenMP's threads do not survive a fork
        run()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def command(*arguments: object) -> None:
    """The command line program with these arguments."""
    from seesr.apps.cli import main

    sys.argv = ["seesr", *map(str, arguments)]
    main()


def code_of(child: int) -> int:
    """Exit code of a forked process once it has ended; minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
