"""Which files this program wrote, by the manifests in their folder and above it (`seesr.apps.jobs.manifest`)."""

import os
import sqlite3
from pathlib import Path
from typing import Any

from seesr.apps.jobs.database import NAME, PRINTS, Print, connect, hot, key, prints


class Known:
    """Which files are this program's own, by the manifests in their folder and in those above it. Reads only."""

    def __init__(self) -> None:
        self._opened: dict[str, sqlite3.Connection | None] = {}
        self._above: dict[str, list[str]] = {}

    def __enter__(self) -> "Known":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._opened.values():
            if connection is not None:
                connection.close()
        self._opened.clear()

    def results_in(self, folder: str) -> dict[str, list[Print]]:
        """Name → fingerprints of the results and side-by-sides that were written into `folder`."""
        return self._listed(folder, ("result", "sheet"))

    def written_in(self, folder: str) -> dict[str, list[Print]]:
        """The same of all files."""
        return self._listed(folder, ("result", "sheet", "degraded", "report"))

    def unchanged(self, folder: str, prints: list[Print], name: str) -> bool:
        """Whether a file is as one of `prints` says."""
        path = os.path.join(folder, name)
        return any(found.fits(path) for found in prints)

    def is_ours(self, path: Path) -> bool:
        """Whether this program wrote the file at `path`, and nobody changed it."""
        prints = self.written_in(str(path.parent)).get(path.name, [])
        return self.unchanged(str(path.parent), prints, path.name)

    def _listed(self, folder: str, kinds: tuple[str, ...]) -> dict[str, list[Print]]:
        folder = os.path.realpath(folder)
        found: dict[str, list[Print]] = {}
        for root in self._manifests(folder):
            below = os.path.relpath(folder, root)
            query = f"SELECT name, {PRINTS} FROM files WHERE folder = ? AND kind IN ({','.join('?' * len(kinds))})"
            for row in self._rows(root, query, (key("" if below == "." else below), *kinds)):
                name = os.fsdecode(row[0])
                found.setdefault(os.path.basename(name), []).extend(prints(row))
        return found

    def _manifests(self, folder: str) -> list[str]:
        """Folders with a manifest, `folder` and those above it."""
        if folder not in self._above:
            parent = os.path.dirname(folder)
            above = self._manifests(parent) if parent != folder else []
            here = [folder] if os.path.isfile(os.path.join(folder, NAME)) else []
            self._above[folder] = here + above
        return self._above[folder]

    def _rows(self, root: str, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Rows of a manifest; of a damaged one, or another program's, none."""
        try:
            if root not in self._opened:
                self._opened[root] = None
                self._opened[root] = connect(os.path.join(root, NAME), "rw" if hot(root) else "ro")
            connection = self._opened[root]
            return [] if connection is None else connection.execute(query, values).fetchall()
        except sqlite3.Error:
            return []
