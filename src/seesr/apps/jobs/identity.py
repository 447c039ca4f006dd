"""Which model it is: a fingerprint that tells retrained weights of the same shapes apart, without reading gigabytes."""

import hashlib
import os
from pathlib import Path

from seesr.errors import SeesrError

_PART = 4096
_PARTS = 64  # of a file of weights, evenly spread


def model_identity(name: str, folder: Path) -> str:
    """The model's name and a hash of its folder: names and sizes of all files, and parts of each.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} ".encode("utf-8", "surrogateescape"))
        _update(digest, path)
    return f"{name if not os.path.isdir(name) else folder.resolve().name} {digest.hexdigest()}"


def file_identity(path: Path) -> str:
    """A file's name and a hash of its size and of parts of it.

    Raises:
        SeesrError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    try:
        _update(digest, path.expanduser())
    except OSError as error:
        raise SeesrError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{path.name} {digest.hexdigest()}"


def _update(digest: "hashlib.blake2b", path: Path) -> None:
    """Put a file's size and parts of it into a hash."""
    size = path.stat().st_size
    digest.update(f"{size}\n".encode())
    with open(path, "rb") as file:
        for part in range(_PARTS):
            file.seek(max(0, (size - _PART) * part // (_PARTS - 1)))
            digest.update(file.read(_PART))
            if size <= _PART:
                break
