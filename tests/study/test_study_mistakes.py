"""Making, serving and reporting a study: what is wrong is named, and nothing is left behind."""

import random
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from study_cases import answer, make_pictures, options, serving, small_study

from seesr.errors import SeesrError
from seesr.study.design import read_study
from seesr.study.serve import StudyServer
from seesr.study.votes import VoteDatabase


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def study(pictures: Path, tmp_path: Path) -> Path:
    return small_study(pictures, tmp_path / "study")


def test_folders_that_do_not_fit_are_named(pictures: Path, tmp_path: Path, seesr: Callable[..., Any]) -> None:
    def make(*extra: object, **folders: Path) -> str:
        given = {"--lr": pictures / "lr", "--hr": pictures / "hr"} | {f"--{key}": folders[key] for key in folders}
        outcome = seesr(
            "study", "make", *(part for pair in given.items() for part in pair), *extra, "-o", tmp_path / "s"
        )
        assert outcome.code == 2
        assert not (tmp_path / "s").exists()
        assert not list(tmp_path.glob(".*"))
        return outcome.err

    both = options(pictures)
    (tmp_path / "empty").mkdir()
    for name, change in (("small", "size"), ("few", "missing"), ("torn", "damaged"), ("wide", "shape")):
        folder = tmp_path / name
        folder.mkdir()
        for path in (pictures / "seesr" / "syn").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        last = folder / "syn15.png"
        if change == "size":
            Image.new("RGB", (15, 16)).save(last)
        elif change == "missing":
            last.unlink()
        elif change == "damaged":
            last.write_bytes(last.read_bytes()[:60])
        else:
            Image.new("RGB", (4, 6)).save(last)
    assert "small/syn15.png: 15 x 16 pixels, but" in make(*both[:14], "--method", f"x={tmp_path / 'small'}")
    assert "syn15.png: no picture of that name in the pictures of x" in make(*both, "--method", f"x={tmp_path / 'few'}")
    assert "torn/syn15.png: the picture is damaged" in make(*both, "--method", f"x={tmp_path / 'torn'}")
    assert "no picture of that name (nor 15 others)" in make(*both, hr=pictures / "real")
    assert "of another shape" in make(*both, lr=tmp_path / "wide")
    assert "no pictures in this folder" in make(*both, "--method", f"x={tmp_path / 'empty'}")
    assert "--method seesr: no such method" in make("--method", "seesr")
    assert "at least two methods" in make(*both[:4])
    assert "nowhere: no such folder" in make(*both, "--method", "x=nowhere")
    assert "--photos cannot be 17" in make(*both, "--photos", 17)
    assert "--checks cannot be -1" in make(*both, "--checks", -1)
    outcome = seesr("study", "make", "--lr", pictures / "lr", *both, "-o", tmp_path / "s")
    assert outcome.code == 2
    assert "--hr" in outcome.err
    outcome = seesr("study", "make", *both, "-o", tmp_path / "empty", "--real", pictures / "real")
    assert outcome.code == 2
    assert "exists already" in outcome.err


def test_serving_and_reporting_say_what_is_wrong(
    study: Path, tmp_path: Path, seesr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no votes yet" in seesr("study", "report", study, "-o", tmp_path / "r").err
    assert "no study in this folder" in seesr("study", "serve", tmp_path).err
    assert "--port cannot be 70000" in seesr("study", "serve", study, "--port", 70000).err
    with serving(study) as server:
        outcome = seesr("study", "serve", study, "--port", server.server_port)
        assert outcome.code == 2
        assert f"port {server.server_port} of 127.0.0.1 is in use" in outcome.err

    database = study / "votes.sqlite"
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.executescript("CREATE TABLE study (id TEXT); INSERT INTO study VALUES ('other')")
    other.close()
    for content, reason in (
        (b"SQLite" + bytes(5000), "damaged"),
        ((tmp_path / "other.sqlite").read_bytes(), "another study"),
    ):
        for path in study.glob("votes.sqlite*"):
            path.unlink()
        database.write_bytes(content)
        for command in (("serve", study), ("report", study, "-o", tmp_path / "r")):
            outcome = seesr("study", *command)
            assert outcome.code == 2
            assert "votes.sqlite" in outcome.err
            assert reason in outcome.err
        assert database.read_bytes()[:6] == content[:6]

    for path in study.glob("votes.sqlite*"):
        path.unlink()
    filled = VoteDatabase(database, read_study(study))
    for vote in answer(read_study(study), random.Random(2)):
        filled.vote("a", vote)
    filled.close()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = seesr("study", "report", study, "-o", tmp_path / "r")
    assert outcome.code == 2
    assert "pip install 'seesr[study]'" in outcome.err
    (study / "public" / "index.html").unlink()
    with pytest.raises(SeesrError, match=r"index\.html: cannot be read"):
        StudyServer(study, port=0)
    (study / "key.json").write_text("{")
    assert "key.json: damaged" in seesr("study", "serve", study).err
