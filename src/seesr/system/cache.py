"""The cache folder, and figures kept there because finding them takes seconds and gives the same every time."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import seesr
from seesr.errors import SeesrError
from seesr.system.atomic import write_text


def cache_root() -> Path:
    """Where seesr keeps what it fetches, builds and finds out: `$SEESR_CACHE`, by default `~/.cache/seesr`."""
    if root := os.environ.get("SEESR_CACHE"):
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seesr"


def remembered(about: object, count: Callable[[], int]) -> int:
    """What `count` gives, kept for later processes under the `repr` of what it is about.

    The package's code is part of what it is about, so another version counts anew. A folder that cannot be read or
    written is passed over.
    """
    name = hashlib.sha256(repr((_code(), about)).encode()).hexdigest()[:32]
    file = cache_root() / "counted" / name
    with suppress(OSError, ValueError):
        return int(file.read_text())
    found = count()
    with suppress(OSError, SeesrError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, str(found))
    return found


@cache
def _code() -> tuple[str, int]:
    """The package's version, and when its newest file was written: a working copy changes without a new version."""
    files = Path(seesr.__file__).parent.rglob("*.py")
    return seesr.__version__, max(file.stat().st_mtime_ns for file in files)
