"""One file over plain HTTP: resumed after a break, asked for again from a busy server, renamed only when whole."""

import errno
import hashlib
import http.client
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from seesr.errors import SeesrError

ATTEMPTS = 5
"""Tries in a row that may pass without a new byte before the download is given up."""

BACKOFF_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 20

Advance = Callable[[int], None]


class Unavailable(Exception):
    """A place does not have the file, for the reason given in a few words; the next one may."""


class Unreachable(Unavailable):
    """A host that does not answer at all; its other files need not be tried."""


def download(url: str, target: Path, sha256: Sequence[str] = (), advance: Advance = lambda count: None) -> Path:
    """Download `url` to `target`, in any number of pieces; `target` appears whole and checked, or not at all.

    What came before a break lies in `target.partial` and is taken up again, by this process or a later one, if the
    server still has the same file (its ETag or date says so, or `sha256` will). Busy servers are asked again.

    Args:
        sha256: of the whole file, in hexadecimal: one of these, if any.
        advance: called with the number of bytes that came, negative where they are thrown away.

    Raises:
        Unavailable: not there, not the right file, or broken too often.
        SeesrError: the disk is full or cannot be written to.
    """
    partial = target.with_name(target.name + ".partial")
    stamp = target.with_name(target.name + ".partial.etag")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeesrError(f"{target.parent}: cannot be written ({error.strerror}); set SEESR_CACHE") from error
    advance(_size(partial))
    failures = 0
    while True:
        before = _size(partial)
        try:
            _continue(url, partial, stamp, bool(sha256), advance)
            break
        except urllib.error.HTTPError as error:
            if error.code not in (408, 416, 425, 429) and error.code < 500:
                raise Unavailable(f"HTTP {error.code} {error.reason}") from error
            if error.code == 416:  # the piece asked for does not exist: begin afresh
                _forget(partial, stamp, advance)
            reason, wait = f"HTTP {error.code} {error.reason}", _retry_after(error)
        except (OSError, http.client.HTTPException) as error:
            tell_full_disk(error, target.parent)
            reason, wait = cause_of(error), None
            if isinstance(getattr(error, "reason", error), (ConnectionRefusedError, socket.gaierror)):
                raise Unreachable(f"no connection to {urlsplit(url).netloc} ({reason})") from error
        failures = 1 if _size(partial) > before else failures + 1
        if failures >= ATTEMPTS:
            raise Unavailable(f"gave up after {ATTEMPTS} tries ({reason}); what came is kept for the next one")
        time.sleep(min(LONGEST_WAIT_SECONDS, wait if wait is not None else BACKOFF_SECONDS * 2 ** (failures - 1)))
    if sha256 and (found := sha256_of(partial)) not in sha256:
        _forget(partial, stamp, advance)
        raise Unavailable(wrong_hash(found, sha256))
    partial.replace(target)
    stamp.unlink(missing_ok=True)
    return target


def _continue(url: str, partial: Path, stamp: Path, checked: bool, advance: Advance) -> None:
    """One request for what `partial` lacks. Raises OSError where the connection ends before the file does."""
    have, validator = _size(partial), stamp.read_text() if stamp.is_file() else ""
    headers = {"User-Agent": "seesr", "Accept-Encoding": "identity"}
    if have and (validator or checked):
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
        if response.headers.get_content_type() == "text/html":
            raise Unavailable("answers with a web page, not with the file")
        resumed = re.match(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status == 206 and resumed and int(resumed[1]) == have:
            total = int(resumed[2])
        else:  # the server begins at the beginning
            _forget(partial, stamp, advance)
            have, total = 0, int(response.headers.get("Content-Length", -1))
        etag = response.headers.get("ETag", "")
        stamp.write_text(etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", ""))
        with partial.open("ab") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                advance(len(block))
                have += len(block)
    if total >= 0 and have != total:
        raise ConnectionError(f"the connection broke after {have} of {total} bytes")


def _forget(partial: Path, stamp: Path, advance: Advance) -> None:
    advance(-_size(partial))
    partial.unlink(missing_ok=True)
    stamp.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    """Seconds the server asks to wait, or None; a date in its place is as good as no answer."""
    value = error.headers.get("Retry-After") if error.headers else None
    return float(value) if value and value.isdecimal() else None


def cause_of(error: BaseException) -> str:
    """The innermost reason of a network error, in a few words."""
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def wrong_hash(found: str, expected: Sequence[str]) -> str:
    """Why a file is refused."""
    wanted = " or ".join(f"{sha256[:12]}…" for sha256 in expected)
    return f"another file, or a damaged one (sha256 {found[:12]}…, expected {wanted})"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def tell_full_disk(error: BaseException, folder: Path) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        raise SeesrError(f"{folder}: cannot be written ({error.strerror}); set SEESR_CACHE or HF_HOME") from error
