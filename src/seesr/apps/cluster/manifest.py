"""What a cluster job has done, as Parquet files beside its results: `seesr-manifest/*.parquet`.

A row tells of one photo: its source, its result and how it was made, or its error. The process that restores a batch
writes the rows of it to a part of their own, whole, before the pictures get their names. The driver joins parts into
larger files as the run goes on, and at its end. Killed anywhere, a row of a part tells by size and digest whether its
picture is there.
"""

import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seesr.apps.cluster.places import Place
from seesr.apps.jobs.database import Recipe
from seesr.errors import SeesrError

FOLDER = "seesr-manifest"

SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # the key below SOURCE
        ("result", pa.string()),  # the key below TARGET
        ("size", pa.int64()),  # bytes of the result; none of a photo that was left as it is
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seconds", pa.float64()),  # of the restoration, without reading and writing
        ("tags", pa.list_(pa.string())),
        ("notes", pa.list_(pa.string())),
        ("error", pa.string()),
        ("recipe", pa.string()),  # recipe-….json tells settings and model
        ("version", pa.string()),  # of the source: its bytes, and its ETag or time
        ("digest", pa.string()),  # BLAKE2b of the result
        ("replaces", pa.bool_()),  # whether another file stood there
        ("time", pa.float64()),  # when the row was written, seconds since 1970
    ]
)
PART = pa.field("part", pa.string())
"""A column that rows have on their way to the driver: the part that holds them too."""

_MERGED = 1000  # rows after which the driver joins parts
_SECONDS = 60.0
_READERS = 16


def table_of(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows as a table; columns not given are null."""
    return pa.Table.from_pylist(list(rows), SCHEMA)


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def write_table(place: Place, key: str, table: pa.Table) -> None:
    """Write a Parquet file, whole."""
    with tempfile.TemporaryDirectory(prefix="seesr-") as folder:
        file = Path(folder, "rows.parquet")
        pq.write_table(table, file, compression="zstd")
        place.put(file, key)


def read_table(place: Place, key: str) -> pa.Table:
    """Rows of a Parquet file of a manifest.

    Raises:
        SeesrError: it is damaged, or of another kind.
    """
    content = place.read(key)
    try:
        return pq.read_table(pa.BufferReader(content)).select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowInvalid, KeyError) as error:
        raise SeesrError(
            f"{place.name(key)}: is damaged or no manifest; remove it, and what it lists is done anew"
        ) from error


def part_name(run: str, keys: Sequence[str]) -> str:
    """Where the rows of a batch go; the same for the same batch, so that it is not written twice."""
    return f"{FOLDER}/part-{run}-{digest_of(chr(0).join(keys).encode())}.parquet"


def is_there(place: Place, row: dict[str, Any], size: int | None) -> bool:
    """Whether the picture of a part's row was put; size: of what is there."""
    if row["error"] is not None or row["size"] is None:
        return True
    if size != row["size"]:
        return False
    return not row["replaces"] or digest_of(place.read(row["result"])) == row["digest"]


class Manifest:
    """The manifest of a place, for the driver.

    Args:
        place: of the results.
        listed: sizes of all files there, by key.
    """

    def __init__(self, place: Place, listed: dict[str, int]) -> None:
        self.place = place
        self.run = uuid.uuid4().hex
        self._files = [key for key in listed if key.startswith(f"{FOLDER}/") and key.endswith(".parquet")]
        self.rows = self._read(listed)
        self._waiting: list[pa.Table] = []
        self._done: list[pa.Table] = []
        self._count, self._merged, self._last = 0, 0, time.monotonic()

    def recipe(self, digest: str) -> Recipe:
        """A recipe by its digest; an empty one if its file is gone."""
        try:
            found = json.loads(self.place.read(f"{FOLDER}/recipe-{digest}.json"))
            return Recipe(found["settings"], found["model"])
        except (SeesrError, ValueError, KeyError):
            return Recipe({}, "")

    def begin(self, recipe: Recipe) -> None:
        """Note the recipe of this run, which shows that the place can be written, and join what earlier runs left.

        Raises:
            SeesrError: it cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="seesr-") as folder:
            file = Path(folder, "recipe.json")
            text = json.dumps({"settings": recipe.settings, "model": recipe.model}, indent=2, sort_keys=True)
            file.write_text(text + "\n")
            self.place.put(file, f"{FOLDER}/recipe-{recipe.digest}.json")
        if any(map(_is_part, self._files)):
            self._join([self.rows])

    def add(self, rows: pa.Table) -> None:
        """Rows that a batch gave back: its pictures are there."""
        self._waiting.append(rows)
        self._count += len(rows)
        if self._count >= _MERGED or time.monotonic() - self._last > _SECONDS:
            self.merge()

    def merge(self) -> None:
        """Join the parts whose rows came back."""
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        parts = sorted(set(rows[PART.name].to_pylist()))
        self._done.append(rows.select(SCHEMA.names))
        self._write(self._done[-1])
        self.place.remove(*parts)
        self._waiting, self._count, self._last = [], 0, time.monotonic()

    def finish(self) -> None:
        """One file, with one row for each photo."""
        self.merge()
        if len(self._files) > 1:
            self._join([self.rows, *self._done])

    def _join(self, tables: list[pa.Table]) -> None:
        older, self._files = self._files, []
        self._write(_last_rows(pa.concat_tables(tables)))
        self.place.remove(*older)

    def _write(self, rows: pa.Table) -> None:
        self._merged += 1
        self._files.append(f"{FOLDER}/rows-{self.run}-{self._merged:06d}.parquet")
        write_table(self.place, self._files[-1], rows)

    def _read(self, listed: dict[str, int]) -> pa.Table:
        """The last row of each result."""
        if not self._files:
            return SCHEMA.empty_table()
        with ThreadPoolExecutor(_READERS) as pool:
            tables = list(pool.map(lambda key: self._rows(key, listed), self._files))
        return _last_rows(pa.concat_tables(tables))

    def _rows(self, key: str, listed: dict[str, int]) -> pa.Table:
        rows = read_table(self.place, key)
        if not _is_part(key):
            return rows
        return table_of(self._as_found(row, listed.get(row["result"])) for row in rows.to_pylist())

    def _as_found(self, row: dict[str, Any], size: int | None) -> dict[str, Any]:
        """A part's row, or that its picture was not put; what lies beside the picture may have been."""
        if is_there(self.place, row, size):
            return row
        return row | {"error": "broken off before it was written", "size": size, "digest": None}


def _last_rows(rows: pa.Table) -> pa.Table:
    """Of each result the row that was written last."""
    rows = rows.sort_by("time")
    last = dict(zip(rows["result"].to_pylist(), range(len(rows))))
    return rows if len(last) == len(rows) else rows.take(pa.array(sorted(last.values()), pa.int64()))


def _is_part(key: str) -> bool:
    return key.startswith(f"{FOLDER}/part-")
