"""What this program has written, in a small database beside it: `.seesr.sqlite` in the folder of the results.

It answers two questions. Which files are ours? Those it lists, as long as they are as they were written (size, and time
or hash): a result that was edited since is its owner's. And what is done? A photo whose source, settings and model are
those of the result. A mark within the pictures could answer neither: it survives editing, and not every format or wish
(`--strip`) has room for one.

A photo passes through "working" (claimed by a run), "writing" (the result is whole, its fingerprint noted, and gets its
name at the next moment) to "done", or to "failed". Killed anywhere, the fingerprint tells whether the name was given.
"""

import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from seesr.apps.jobs.database import FORMAT, NAME, PRINTS, SCHEMA, Kind, Print, Recipe, connect, key, prints
from seesr.apps.jobs.known import Known
from seesr.errors import SeesrError

_BEAT = 30  # seconds between a run's signs of life
_DEAD = 150  # seconds without one, after which a run on another machine counts as dead


# ----------------------------------------------------------------------------------------------------- what is done


class Manifest:
    """The manifest of one folder, for a run that writes there; a context manager. Safe for several threads.

    Args:
        folder: where results go, at any depth.
        recipe: of this run.
        lazy: make the database only when the first result is written: a single photo leaves nothing if it fails.
    """

    def __init__(self, folder: Path, recipe: Recipe, lazy: bool = False) -> None:
        self.folder, self.recipe, self.lazy = folder, recipe, lazy
        self.run = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._over = threading.Event()
        self._registered = False
        self._alive: dict[str, tuple[float, bool]] = {}

    def __enter__(self) -> "Manifest":
        if not self.lazy or (self.folder / NAME).exists():
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._db is None:
            return
        try:
            if not self._registered:
                return
            with self._changing() as db:
                db.execute("UPDATE files SET state = 'stopped' WHERE run = ? AND state = 'working'", (self.run,))
        except SeesrError:
            pass  # a full disk: the claims end with this process
        finally:
            with self._lock:
                self._db.close()

    def claim(self, target: Path, source: Path, found: Print, kind: Kind = "result") -> bool:
        """Take on a photo; False if another run that is alive has it."""
        if self._db is None and self.lazy:
            return True
        with self._changing() as db:
            name = self._name(target)
            row = db.execute("SELECT state, run FROM files WHERE name = ?", (name,)).fetchone()
            if row and row[0] in ("working", "writing") and row[1] != self.run and self._is_alive(row[1]):
                return False
            self._note(db, name, kind, "working", source, found)
            return True

    def announce(
        self, target: Path, source: Path, found: Print, file: BinaryIO, kind: Kind = "result", replaces: bool = True
    ) -> None:
        """Note the fingerprint of a whole file that is about to be called `target`, or is already if not `replaces`.

        Raises:
            SeesrError: there is a file of that name now, and it is not ours.
        """
        if replaces and self.overwrites_only_ours and os.path.lexists(target) and not self.is_ours(target):
            raise SeesrError(
                f"{target}: is not a result of this program, or was changed since; --overwrite replaces it"
            )
        made = Print.of_file(file)
        with self._changing() as db:
            name = self._name(target)
            self._note(db, name, kind, "writing", source, found)
            query = "UPDATE files SET new_size = ?, new_mtime = ?, new_hash = ? WHERE name = ?"
            db.execute(query, (made.size, made.mtime, made.hash, name))

    overwrites_only_ours = True
    """False where the user allowed to replace any file."""

    def done(self, *targets: Path) -> None:
        """The files have their names."""
        with self._changing() as db:
            for target in targets:
                db.execute(_SETTLE, (self._name(target),))

    def failed(self, target: Path, source: Path, found: Print | None, reason: str) -> None:
        """A photo that cannot be done, and why. What is known of an older result stays."""
        if self._db is None:
            return
        with self._changing() as db:
            name = self._name(target)
            row = db.execute("SELECT state, run FROM files WHERE name = ?", (name,)).fetchone()
            if row is None or row[1] == self.run or row[0] not in ("working", "writing"):
                self._note(db, name, "result", "failed", source, found, reason)

    def is_ours(self, target: Path) -> bool:
        """Whether the file at `target` is as this program wrote it."""
        row = self._row(f"SELECT {PRINTS} FROM files WHERE name = ?", target)
        if row is None:  # a manifest further down or up may know it
            with Known() as known:
                return known.is_ours(target)
        return any(found.fits(target) for found in prints(row))

    def is_done(self, target: Path, source: Path, found: Print) -> bool:
        """Whether `target` was made of this very source by this recipe, be it edited since."""
        columns = "state, recipe, run, source_size, source_mtime, source_hash"
        row = self._row(f"SELECT {columns}, {PRINTS} FROM files WHERE name = ? AND kind = 'result'", target)
        if row is None or row[1] != self.recipe.digest or not target.exists():
            return False
        if row[0] in ("working", "writing", "stopped", "failed"):  # was its name given before the end?
            if row[-3] is None or not Print(*row[-3:]).fits(target):
                return False
            with self._changing() as db:
                db.execute(_SETTLE, (self._name(target),))
        if row[3] != found.size:
            return False
        if row[4] != found.mtime:
            return bool(row[5]) and row[5] == Print.of(source, True).hash
        return True

    def has_sheet(self, sheet: Path) -> bool:
        """Whether the side-by-side is there, by this recipe."""
        row = self._row("SELECT recipe FROM files WHERE name = ? AND kind = 'sheet'", sheet)
        return row is not None and row[0] == self.recipe.digest and sheet.exists()

    def other_recipes(self) -> Iterator[tuple[str, Recipe]]:
        """(target, recipe) of each finished result that other settings or another model made."""
        if self._db is None:
            return
        query = (
            "SELECT name, settings, model FROM files JOIN runs ON runs.id = files.run "
            "WHERE kind = 'result' AND state = 'done' AND recipe != ?"
        )
        with self._lock:
            rows = self._db.execute(query, (self.recipe.digest,)).fetchall()
        for name, settings, model in rows:
            path = self.folder / os.fsdecode(name)
            if path.exists():
                yield str(path), Recipe(json.loads(settings), model)

    # --------------------------------------------------------------------------------------------------- inside

    def _name(self, target: Path) -> str | bytes:
        return key(os.path.relpath(target, self.folder))

    def _row(self, query: str, target: Path) -> tuple[Any, ...] | None:
        if self._db is None:
            return None
        with self._lock, _troubles(self.folder):
            row: tuple[Any, ...] | None = self._db.execute(query, (self._name(target),)).fetchone()
        return row

    def _note(
        self,
        db: sqlite3.Connection,
        name: str | bytes,
        kind: Kind,
        state: str,
        source: Path,
        found: Print | None,
        reason: str | None = None,
    ) -> None:
        folder = os.path.dirname(os.fsdecode(name))
        values = {
            "folder": key(folder),
            "kind": kind,
            "state": state,
            "run": self.run,
            "recipe": self.recipe.digest,
            "reason": None if reason is None else reason.encode("utf-8", "replace").decode(),
            "source": key(os.path.abspath(source)),
            "source_size": found.size if found else None,
            "source_mtime": found.mtime if found else None,
            "source_hash": found.hash if found else None,
        }
        marks, sets = ",".join("?" * (len(values) + 1)), ", ".join(f"{key} = excluded.{key}" for key in values)
        query = (
            f"INSERT INTO files (name, {', '.join(values)}) VALUES ({marks}) ON CONFLICT (name) DO UPDATE SET {sets}"
        )
        db.execute(query, (name, *values.values()))

    def _open(self) -> sqlite3.Connection:
        if self._db is not None:
            return self._db
        with _troubles(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            db = connect(str(self.folder / NAME), "rwc")
            try:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, FORMAT):
                    raise SeesrError(f"{self.folder / NAME}: written by a newer version; update seesr")
                if version == 0:
                    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
            except BaseException:
                db.close()
                raise
        self._db = db
        return db

    def _register(self, db: sqlite3.Connection) -> None:
        """Note this run, at its first change."""
        me = psutil.Process()
        row = (self.run, socket.gethostname(), me.pid, me.create_time(), time.time())
        recipe = json.dumps(self.recipe.settings, sort_keys=True), self.recipe.model
        db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, *recipe))

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock, _troubles(self.folder):
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                if not self._registered:
                    self._register(db)
                yield db
                db.execute("COMMIT")
                if not self._registered:
                    self._registered = True
                    threading.Thread(target=self._beat, daemon=True).start()
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _beat(self) -> None:
        while not self._over.wait(_BEAT):
            try:
                with self._changing() as db:
                    db.execute("UPDATE runs SET seen = ? WHERE id = ?", (time.time(), self.run))
            except (SeesrError, sqlite3.Error):
                pass

    def _is_alive(self, run: str) -> bool:
        """Whether the process of a run still is; asked anew every few seconds."""
        when, alive = self._alive.get(run, (0.0, False))
        if time.monotonic() - when < 5 and when:
            return alive
        assert self._db is not None
        row = self._db.execute("SELECT host, pid, born, seen FROM runs WHERE id = ?", (run,)).fetchone()
        alive = row is not None and _lives(*row)
        self._alive[run] = time.monotonic(), alive
        return alive


_SETTLE = """UPDATE files SET state = 'done', reason = NULL, size = new_size, mtime = new_mtime, hash = new_hash,
new_size = NULL, new_mtime = NULL, new_hash = NULL WHERE name = ? AND new_size IS NOT NULL"""


def _lives(host: str, pid: int, born: float, seen: float) -> bool:
    if host != socket.gethostname():
        return time.time() - seen < _DEAD
    try:
        return bool(abs(psutil.Process(pid).create_time() - born) < 2)
    except psutil.Error:
        return False


@contextmanager
def _troubles(folder: Path) -> Iterator[None]:
    """A database that cannot be used, or a folder, in words."""
    try:
        yield
    except OSError as error:
        raise SeesrError(f"{folder}: cannot be written ({error.strerror or error})") from error
    except sqlite3.DatabaseError as error:
        place = folder / NAME
        if "malformed" in str(error) or "not a database" in str(error):
            raise SeesrError(f"{place}: is damaged; remove it, and what is done is no longer known") from error
        raise SeesrError(f"{place}: cannot be written ({error})") from error
