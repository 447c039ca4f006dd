"""The database of a manifest: its tables, a file's fingerprint, and the recipe of a result."""

import hashlib
import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

NAME = ".seesr.sqlite"


FORMAT = 1


Kind = Literal["result", "sheet", "degraded", "report"]


SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, host TEXT, pid INTEGER, born REAL, seen REAL, settings TEXT, model TEXT);
CREATE TABLE IF NOT EXISTS files (
  name PRIMARY KEY, folder, kind TEXT, state TEXT, run TEXT, recipe TEXT, reason TEXT,
  source, source_size INTEGER, source_mtime INTEGER, source_hash TEXT,
  size INTEGER, mtime INTEGER, hash TEXT, new_size INTEGER, new_mtime INTEGER, new_hash TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS folders ON files (folder);
"""


PRINTS = "size, mtime, hash, new_size, new_mtime, new_hash"


@dataclass(frozen=True)
class Recipe:
    """What makes a result besides its source: settings (JSON types), and the model's name with a fingerprint."""

    settings: dict[str, Any]
    model: str

    @property
    def digest(self) -> str:
        text = json.dumps([self.settings, self.model], sort_keys=True)
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Print:
    """A file's fingerprint: bytes, time of change in nanoseconds, hash of the content ("": not taken)."""

    size: int
    mtime: int
    hash: str = ""

    @classmethod
    def of(cls, path: str | Path, hashed: bool = False) -> "Print":
        """Raises OSError."""
        if not hashed:
            stat = os.stat(path)
            return cls(stat.st_size, stat.st_mtime_ns)
        with open(path, "rb") as file:
            return cls.of_file(file)

    @classmethod
    def of_file(cls, file: BinaryIO) -> "Print":
        stat = os.fstat(file.fileno())
        return cls(stat.st_size, stat.st_mtime_ns, hash_of(file))

    def fits(self, path: str | Path) -> bool:
        """Whether the file at `path` is still this one; its time may differ if its content does not, as for a copy."""
        try:
            stat = os.stat(path)
            if self.size != stat.st_size:
                return False
            return self.mtime == stat.st_mtime_ns or (self.hash != "" and self.hash == Print.of(path, True).hash)
        except OSError:
            return False


def hash_of(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def key(path: str) -> str | bytes:
    """A name as SQLite takes it: text, or bytes where it is no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def prints(row: tuple[Any, ...]) -> list[Print]:
    """The fingerprints in a row's last six columns: of the file, and of the one that was to take its place."""
    found = [row[-6:-3], row[-3:]]
    return [Print(size, mtime, content or "") for size, mtime, content in found if size is not None]


def hot(root: str) -> bool:
    """Whether a killed run left a transaction to be taken back, for which the database must be writable."""
    return os.path.exists(os.path.join(root, NAME + "-journal"))


def connect(path: str, mode: str) -> sqlite3.Connection:
    place = Path(os.path.abspath(path)).as_uri()
    connection = sqlite3.connect(
        f"{place}?mode={mode}", uri=True, timeout=30, check_same_thread=False, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
