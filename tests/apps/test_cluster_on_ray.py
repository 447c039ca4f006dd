"""`seesr cluster` on a real Ray: two processes, one that is killed, a driver that is killed, an object storage."""

# ruff: noqa: E402

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

for library in ("ray.data", "pyarrow", "s3fs", "moto"):
    pytest.importorskip(library)

from cluster_cases import download, rows_of, storage, upload
from folder_cases import contents, photo

from seesr.apps.cluster.manifest import FOLDER
from seesr.apps.cluster.places import Place

pytestmark = pytest.mark.slow

COUNT = 14
LIKE = ("--dtype", "float32", "--scale", "2")
TWO = ("--actors", "2", "--cpus-per-actor", "1", "--batch", "2", *LIKE)


def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """The command in a process of its own, with one thread."""
    command = [sys.executable, "-m", "seesr.apps.cli", *map(str, arguments)]
    given = os.environ | environment | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True)


def processes(driver: int) -> list[psutil.Process]:
    """Those of Ray that restore."""
    below = psutil.Process(driver).children(recursive=True)
    return [child for child in below if child.is_running() and "MapWorker" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        photo(folder / f"{number % 3}" / f"{number:02d}.png", (24, 24 + number), seed=number)
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process, `seesr upscale`, makes of them."""
    out = tmp_path_factory.mktemp("one") / "out"
    run = start("upscale", photos, "-o", out, *LIKE)
    run.communicate()
    assert run.returncode == 2  # bad.jpg
    return contents(out)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with storage(monkeypatch.setenv) as address:
        yield address


def check(folder: Path, expected: dict[str, bytes]) -> None:
    made = {name: content for name, content in contents(folder).items() if not name.startswith(FOLDER)}
    assert made == expected
    rows = rows_of(folder)
    assert sorted(row["source"] for row in rows) == sorted([*expected, "bad.jpg"])
    assert {row["source"] for row in rows if row["error"]} == {"bad.jpg"}
    assert all(row["seconds"] > 0 and row["tags"] is not None for row in rows if not row["error"])
    assert len(list((folder / FOLDER).glob("*.parquet"))) == 1


def test_two_processes_on_an_object_storage_one_of_which_is_killed(
    photos: Path, expected: dict[str, bytes], s3: str, tmp_path: Path
) -> None:
    upload(photos, "s3://photos/in")
    run = start("cluster", "s3://photos/in", "-o", "s3://photos/out", *TWO)
    target, killed = Place("s3://photos/out"), None
    while run.poll() is None:
        done = [file.key for file in target.files() if file.key.endswith(".png")]
        if killed is None and len(done) >= 3:
            workers = processes(run.pid)
            assert len(workers) == 2
            killed = workers[0].pid
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.2)
    assert run.stderr is not None
    said = run.stderr.read()
    assert killed is not None, said
    assert run.returncode == 2, said
    assert f"{COUNT} done, 1 failed" in said
    check(download("s3://photos/out", tmp_path / "out"), expected)


def test_the_driver_is_killed_and_started_again(photos: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("cluster", photos, "-o", out, *TWO)
    run = start(*command)
    while run.poll() is None and len(list(out.rglob("*.png"))) < 4:
        time.sleep(0.1)
    assert run.poll() is None, run.stderr and run.stderr.read()
    workers = processes(run.pid)
    run.kill()
    run.communicate()
    psutil.wait_procs(workers, timeout=60)  # they end with it
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert 4 <= len(stamps) < COUNT
    again = start(*command)
    said = again.communicate()[1]
    assert again.returncode == 2, said
    assert f"{len(stamps)} skipped (done before), 1 failed" in said
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    check(out, expected)
    last = start(*command, "--overwrite", "--dry-run")
    assert f"{COUNT + 1} to do; nothing was written" in last.communicate()[1]
