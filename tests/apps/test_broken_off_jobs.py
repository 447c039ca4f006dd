"""Folder jobs that are killed, that find the disk full or read-only, and that run twice at once."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from folder_cases import QuickRestorer, contents, photo
from forks import code_of, command, fork
from PIL import Image

from conftest import Outcome
from seesr.apps.jobs.database import NAME

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
PHOTOS = 60


def start(*arguments: object, seconds: float, messages: Path = Path(os.devnull), user: int | None = None) -> int:
    """The command in a process of its own; returns the process's number."""
    import seesr.apps.jobs.run
    import seesr.loading

    def run() -> None:
        if user is not None:
            os.setuid(user)
        seesr.loading.load_restorer = lambda *_, **__: QuickRestorer(seconds)  # type: ignore[assignment,return-value]
        command(*arguments)

    return fork(run, messages)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(PHOTOS):
        photo(tmp_path / "in" / f"{i // 20}" / f"{i:02d}.png", seed=i)
    return tmp_path / "in"


def whole(folder: Path) -> dict[str, int]:
    """Time of change of every result; fails if one is broken, or if something unfinished has a final name."""
    found = {}
    for path in sorted(folder.rglob("[!.]*.*")):
        with Image.open(path) as image:
            image.load()
            assert image.size == (48, 36)
        found[path.relative_to(folder).as_posix()] = path.stat().st_mtime_ns
    return found


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment(photos: Path, tmp_path: Path, kills: int) -> None:
    out, draw = tmp_path / "out", random.Random(kills)
    before: dict[str, int] = {}
    for _ in range(kills):
        child = start("upscale", photos, "-o", out, seconds=0.01)
        until = time.monotonic() + 5
        while time.monotonic() < until and len(contents(out)) == len(before):
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        after = whole(out) if out.exists() else {}
        assert before.items() <= after.items()  # what was finished stays, and is not done again
        before = after
    assert code_of(start("upscale", photos, "-o", out, seconds=0)) == 0
    after = whole(out)
    assert before.items() <= after.items()
    assert sorted(after) == sorted(contents(photos))


def test_ended_by_request(photos: Path, tmp_path: Path) -> None:
    child = start("upscale", photos, "-o", tmp_path / "out", seconds=0.05)
    until = time.monotonic() + 12
    while not (tmp_path / "out" / "0" / "03.png").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    assert code_of(child) == 130
    assert 4 <= len(whole(tmp_path / "out")) < PHOTOS


def test_two_runs_share_a_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    children = [start("upscale", photos, "-o", out, seconds=0.01) for _ in range(2)]
    assert [code_of(child) for child in children] == [0, 0]
    assert len(whole(out)) == PHOTOS
    import sqlite3

    with sqlite3.connect(out / NAME) as db:
        made = db.execute("SELECT run, count(*) FROM files WHERE state = 'done' GROUP BY run").fetchall()
    assert sum(count for _, count in made) == PHOTOS


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with 400 kB; skips where none can be made."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(
    seesr: Callable[..., Outcome], disk: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = QuickRestorer()
    monkeypatch.setattr("seesr.loading.load_restorer", lambda *_, **__: restorer)
    arguments = ("upscale", photos, "-o", disk / "out", "--scale", 10)
    outcome = seesr(*arguments)
    assert outcome.code == 2
    assert outcome.err.count("failed: ") <= 1
    assert "is full; make room" in outcome.err
    assert "the same command goes on from here" in outcome.err
    assert 0 < restorer.count < PHOTOS / 2
    done = contents(disk / "out")
    assert all(Image.open(disk / "out" / name).size == (120, 90) for name in done)
    subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
    assert seesr(*arguments).code == 0
    assert len(contents(disk / "out")) == PHOTOS
    assert done.items() <= contents(disk / "out").items()


def test_a_folder_that_becomes_read_only(
    photos: Path, seesr: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        shutil.copytree(photos, place / "in")
        out, messages = place / "out", place / "messages.txt"
        monkeypatch.setattr("seesr.loading.load_restorer", lambda *_, **__: QuickRestorer(0))
        seesr("upscale", place / "in" / "0", "-o", place / "before")  # imports what is not readable for `user`
        nobody = 65534 if os.getuid() == 0 else None  # root may write anywhere
        child = start("upscale", place / "in", "-o", out, seconds=0.03, messages=messages, user=nobody)
        until = time.monotonic() + 12
        while not (out / "0" / "03.png").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert (out / "0" / "03.png").exists(), messages.read_text()
        folders = [out, *(path for path in out.iterdir() if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        assert code_of(child) == 2
        said = messages.read_text()
        assert said.count("failed: ") == 1, said
        assert "goes on from here" in said
        done = whole(out)
        assert 4 <= len(done) < PHOTOS
        for folder in folders:
            folder.chmod(0o777)
        assert code_of(start("upscale", place / "in", "-o", out, seconds=0, user=nobody)) == 0
        assert done.items() <= whole(out).items()
        assert len(whole(out)) == PHOTOS
