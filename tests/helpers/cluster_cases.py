"""Cluster jobs without Ray, in this process, and an object storage in this process (moto's server)."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.dataset
import pytest
from folder_cases import QuickRestorer

from seesr.apps.cluster import job, run
from seesr.apps.cluster.ledger import Counts, Ledger
from seesr.apps.cluster.places import Place
from seesr.apps.cluster.rays import Pool
from seesr.apps.cluster.worker import RestoreBatch, Task


class InPlaceOfRay:
    """Takes Ray's place: batches run here, one after the other. attempts: processes that get one, if they die."""

    def __init__(self, restorer: QuickRestorer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.restorer, self.ledger = restorer, Counts()
        self.attempts = 1
        self.process: Any = None
        monkeypatch.setattr(job, "ray_running", lambda address: nullcontext(True))
        monkeypatch.setattr(job, "choose_pool", lambda *_: Pool(2, 0, 1))
        monkeypatch.setattr(run, "restore_jobs", self.restore)

    def restore(self, jobs: pa.Table, task: Task, pool: Pool, batch: int) -> Iterator[pa.Table]:
        blocks, batch = run.in_blocks(jobs, pool.actors, batch)
        for block in blocks:
            for start in range(0, len(block), batch):
                yield self._batch(block.slice(start, batch), task, self.ledger)
        self.process = None

    def _batch(self, jobs: pa.Table, task: Task, ledger: Ledger) -> pa.Table:
        for attempt in range(self.attempts):
            try:
                self.process = self.process or RestoreBatch(task, ledger, lambda _: self.restorer)
                return self.process(jobs)
            except Death:
                self.process = None
                if attempt + 1 == self.attempts:
                    raise
        raise AssertionError


class Death(BaseException):
    """A process ends without a word."""


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """A manifest as anyone reads it, ordered by source."""
    table = pyarrow.dataset.dataset(folder / "seesr-manifest", format="parquet", exclude_invalid_files=True).to_table()
    return sorted(table.to_pylist(), key=lambda row: row["source"])


@contextmanager
def storage(environment: Callable[[str, str], None]) -> Iterator[str]:
    """An S3 storage with a bucket called photos; its address. environment: sets a variable for the tests' time."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in (
        ("AWS_ENDPOINT_URL", address),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_CONFIG_FILE", os.devnull),
    ):
        environment(name, value)
    urlopen(f"{address}/moto-api/reset", data=b"").close()  # what other tests left
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.clear_instance_cache()
    system.mkdir("photos")
    try:
        yield address
    finally:
        server.stop()
        system.clear_instance_cache()


def upload(folder: Path, url: str) -> Place:
    """A folder's files put under `url`."""
    place = Place(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place.put(path, path.relative_to(folder).as_posix())
    return place


def download(url: str, folder: Path) -> Path:
    """All files under `url`."""
    place = Place(url)
    for file in place.files():
        (folder / file.key).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.key).write_bytes(place.read(file.key))
    return folder
