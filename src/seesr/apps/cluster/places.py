"""A folder on this machine or in an object storage: listed, read, and written whole.

Whatever fsspec opens is a place: a path, `s3://bucket/photos`, `gs://…`. Files in it are named by keys, relative to the
folder, with slashes. Object storages put a file in one request, after which it is there whole. Elsewhere it is written
under a temporary name and renamed.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seesr.errors import SeesrError
from seesr.system.atomic import write_whole

_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "memory"}
"""Protocols under which a file appears only when it is complete."""


@dataclass(frozen=True)
class Listed:
    """A file in a place. size: bytes. version: changes when the content does, as far as the place can tell."""

    key: str
    size: int
    version: str


class Place:
    """A folder by its path or URL. Made anew in every process from `url`.

    Raises:
        SeesrError: no such kind of place, or its library is missing.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/") or url
        try:
            self._system, path = fsspec.core.url_to_fs(os.path.expanduser(url), use_listings_cache=False)
        except ImportError as error:
            raise SeesrError(f"{url}: {error}; pip install what it names, here and on the machines") from error
        except ValueError as error:
            raise SeesrError(f"{url}: {error}; give a folder, or a URL as s3://bucket/folder") from error
        except Exception as error:
            raise SeesrError(f"{url}: cannot be opened ({_words(error)})") from error
        protocol = self._system.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._root = path.rstrip("/")
        self.local = Path(path) if names & {"file", "local"} else None
        """The folder, if it is on this machine or mounted there."""
        self.address = str(self.local) if self.local else self.url
        """What makes the same place in any process."""
        self._whole = bool(names & _WHOLE)

    def name(self, key: str) -> str:
        """A file as a user writes it: path or URL."""
        return f"{self.url}/{key}" if key else self.url

    def below(self, other: "Place") -> str | None:
        """The key in `other` of this folder, "" for the same folder; None if it does not lie there."""
        if type(self._system) is not type(other._system):
            return None
        mine, theirs = (
            (os.path.realpath(place.local) if place.local else place._root) + "/" for place in (self, other)
        )
        return mine[len(theirs) :].rstrip("/") if mine.startswith(theirs) else None

    def files(self) -> Iterator[Listed]:
        """All files at any depth, in no order; none if there is no such folder.

        Raises:
            SeesrError: no such bucket, or no right to list it.
        """
        with self._troubles("", "listed"):
            if self.local:
                yield from _local_files(self.local)
                return
            try:
                found: dict[str, dict[str, Any]] = self._system.find(self._root, detail=True)
            except FileNotFoundError:
                if self._system.exists(self._root.partition("/")[0]):  # a bucket is there, a folder not yet
                    return
                raise
            start = len(self._root) + 1
            for path, info in found.items():
                if len(path) > start and info.get("type") != "directory":
                    version = next((info[name] for name in _VERSIONS if info.get(name)), "")
                    yield Listed(path[start:], int(info.get("size") or 0), str(version).strip('"'))

    def size(self, key: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        with self._troubles(key, "read"):
            try:
                return int(self._system.info(self._path(key))["size"])
            except FileNotFoundError:
                return None

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file's content, or bytes `start` to `end` of it."""
        with self._troubles(key, "read"):
            return bytes(self._system.cat_file(self._path(key), start=start, end=end))

    def fetch(self, key: str, folder: Path) -> Path:
        """A file on this machine: where it is, or a copy in `folder` under its own name."""
        if self.local:
            return self.local / key
        path = folder / key.rpartition("/")[2]
        with self._troubles(key, "read"):
            self._system.get_file(self._path(key), str(path))
        return path

    def put(self, file: Path, key: str) -> None:
        """Copy a file of this machine to `key`, whole or not at all; what stood there is replaced."""
        if self.local:
            with file.open("rb") as content:
                write_whole(self.local / key, lambda made: shutil.copyfileobj(content, made))
            return
        path = self._path(key)
        with self._troubles(key, "written"):
            if self._whole:
                self._system.put_file(str(file), path)
                return
            part = f"{path.rpartition('/')[0]}/.seesr-{uuid.uuid4().hex}.part"
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                self._system.put_file(str(file), part)
                self._system.mv(part, path)
            except BaseException:
                with suppress(Exception):
                    self._system.rm_file(part)
                raise

    def remove(self, *keys: str) -> None:
        """Remove files; those that are gone already are no trouble."""
        for key in keys:
            with self._troubles(key, "removed"), suppress(FileNotFoundError):
                self._system.rm_file(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextmanager
    def _troubles(self, key: str, what: str) -> Iterator[None]:
        """What can go wrong with a place, in one line. The libraries of object storages raise errors of their own."""
        name = self.name(key)
        try:
            yield
        except SeesrError:
            raise
        except PermissionError as error:
            raise SeesrError(
                f"{name}: may not be {what} ({_words(error)}); check the rights and credentials"
            ) from error
        except FileNotFoundError as error:
            words = "no such file" if key else f"no such bucket or folder ({_words(error)}); check its name"
            raise SeesrError(f"{name}: {words}") from error
        except Exception as error:
            raise SeesrError(f"{name}: cannot be {what} ({_words(error)})") from error


_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created")
"""What file systems tell of a file's content or its last change; the first that there is counts."""


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:300] or type(error).__name__


def _local_files(root: Path) -> Iterator[Listed]:
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            entries = list(os.scandir(root / below))
        except FileNotFoundError:
            continue
        for entry in entries:
            key = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{key}/")
            elif entry.is_file():
                stat = entry.stat()
                yield Listed(key, stat.st_size, str(stat.st_mtime_ns))
