"""Errors that will be the same for every photo that follows: the job stops after the first, and says how to go on."""

import errno
import sqlite3
import tempfile
from pathlib import Path

AGAIN = 3
"""Photos that fail in a row for the same reason, after which the next is not tried."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def same_for_all(error: BaseException, folder: Path) -> str | None:
    """Why nothing more can be written to `folder`, and what mends it; None if `error` concerns one photo."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return f"the disk of {folder} is full; make room"
        if isinstance(cause, OSError) and cause.errno == errno.EROFS:
            return f"{folder} is read-only; make it writable"
        if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM) and not _writable(folder):
            return f"{folder} may not be written; change its permissions"
        if isinstance(cause, sqlite3.Error):
            text = str(cause)
            if "full" in text:
                return f"the disk of {folder} is full; make room"
            return f"what is done cannot be noted in {folder} ({text}); make it writable"
        cause = cause.__cause__
    return None


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


class Repeated:
    """Counts failures of the same reason, names apart, that follow each other."""

    def __init__(self) -> None:
        self._reason, self._count = "", 0

    def failed(self, reason: str, *names: str) -> str | None:
        """The reason, once it has come `AGAIN` times in a row."""
        for name in names:
            reason = reason.replace(name, "")
        reason = reason.lstrip(": ")
        self._count = self._count + 1 if reason == self._reason else 1
        self._reason = reason
        return reason if self._count >= AGAIN else None

    def done(self) -> None:
        """One went well."""
        self._reason, self._count = "", 0
