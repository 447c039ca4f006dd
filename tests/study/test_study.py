"""`seesr study`: simulated raters' strengths come back, statistics by value, votes survive, pages keep secrets."""

import csv
import http.client
import json
import math
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seesr.errors import SeesrError
from seesr.study.design import GOOD, Study, read_study
from seesr.study.make import make_study
from seesr.study.serve import StudyServer
from seesr.study.votes import Ballot, RaterFinished, Vote, VoteDatabase, ballot_content, read_ballots

STRENGTHS = {"seesr": 1.1, "stablesr": 0.3, "bsr<b>&$_$": -0.3, "bicubic": -1.1}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 photos with references (lr/, hr/) and 16 without (real/), 4x4, and four methods' pictures of all, 16x16."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    kinds = {"lr": ("syn", 4), "hr": ("syn", 16), "real": ("photo", 4)}
    kinds |= {f"{method}/{name}": (name, 16) for method in STRENGTHS for name in ("syn", "photo")}
    for place, (name, side) in kinds.items():
        (folder / place).mkdir(parents=True)
        for i in range(16):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{name}{i:02d}.png")
    return folder


def methods(pictures: Path) -> list[tuple[str, Path]]:
    return [(name, pictures / name / kind) for name in STRENGTHS for kind in ("syn", "photo")]


def options(pictures: Path) -> list[object]:
    return [part for name, folder in methods(pictures) for part in ("--method", f"{name}={folder}")]


@pytest.fixture
def study(pictures: Path, tmp_path: Path) -> Path:
    """Four photos with references, all methods."""
    make_study(tmp_path / "study", methods(pictures), lr=pictures / "lr", hr=pictures / "hr", photos=4, checks=1)
    return tmp_path / "study"


def answer(study: Study, rng: random.Random, blind: bool = False) -> list[Vote]:
    """One rater's votes by Luce's model; a blind one chooses anything, in attention checks too."""
    votes = []
    for part in study.parts:
        rounds = {question.round for question in part.questions if not question.is_check}
        first = rng.randrange(len(rounds))
        asked = [question for question in part.questions if not question.is_check]
        asked.sort(key=lambda question: ((question.round or 0) - first) % len(rounds))
        for question in asked[: part.take] + [question for question in part.questions if question.is_check]:
            shown = rng.sample(sorted(question.candidates), len(question.candidates))
            made_by = [question.candidates[picture] for picture in shown]
            if question.is_check and not blind:
                choice = shown[made_by.index(GOOD)]
            else:
                choice = rng.choices(shown, [1.0 if blind else math.exp(STRENGTHS[name]) for name in made_by])[0]
            votes.append(Vote(question.id, choice, tuple(shown), 5.0, 1.0, 1))
    return votes


@contextmanager
def serving(folder: Path) -> Iterator[StudyServer]:
    server = StudyServer(folder, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def post(url: str, name: str, content: Any, kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{url}api/{name}", json.dumps(content).encode(), {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def sendable(study: Study, rater: str, vote: Vote) -> dict[str, Any]:
    return {"study": study.id, "rater": rater, "vote": vote.__dict__}


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------------------------------ the whole study


@pytest.mark.parametrize("mode", ["choice", "pairs"])
def test_simulated_raters_ranking_is_recovered(
    pictures: Path, tmp_path: Path, seesr: Callable[..., Any], mode: str
) -> None:
    """20 raters, 16 photos of each kind, five raters at a time over HTTP; one sends all twice, two vote blindly."""
    folder, out = tmp_path / "study", tmp_path / "report"
    outcome = seesr("study", "make", "--lr", pictures / "lr", "--hr", pictures / "hr", "--real", pictures / "real",
                    *options(pictures), "--mode", mode, "--checks", 4, "-o", folder)  # fmt: skip
    assert outcome.code == 0, outcome.err
    study = read_study(folder)
    assert [len(part.photos) for part in study.parts] == [16, 16]

    with serving(folder) as server:

        def take_part(number: int) -> None:
            rater = f"P{number:02d}"
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)

            def send(name: str, content: dict[str, Any]) -> dict[str, Any]:
                connection.request("POST", f"/api/{name}", json.dumps(content), {"Content-Type": "application/json"})
                reply = connection.getresponse()
                assert reply.status == 200
                return json.load(reply)

            send("start", {"study": study.id, "rater": rater})
            for vote in answer(study, random.Random(number), blind=number in (3, 11)):
                for _ in range(2 if number == 0 else 1):
                    assert send("vote", sendable(study, rater, vote)) == {"revision": 1}
            send("finish", {"study": study.id, "rater": rater})
            connection.close()

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(take_part, range(20)))

    outcome = seesr("study", "report", folder, "-o", out)
    assert outcome.code == 0, outcome.err
    assert "left out, having failed attention checks: P03, P11" in outcome.out
    votes = read_csv(out / "votes.csv")
    assert len(votes) == 20 * study.length
    rows = read_csv(out / "methods.csv")
    for part in ("closest", "best"):
        mine = [row for row in rows if row["part"] == part]
        assert [row["method"] for row in mine] == list(STRENGTHS)
        assert [row["rank"] for row in mine] == ["1.0", "2.0", "3.0", "4.0"]
        covered = [
            float(row["log_strength_low"]) <= STRENGTHS[row["method"]] <= float(row["log_strength_high"])
            for row in mine
        ]
        assert sum(covered) >= 3
    raters = {row["rater"]: row for row in read_csv(out / "raters.csv")}
    assert [name for name, row in raters.items() if row["counted"] == "0"] == ["P03", "P11"]
    page = (out / "report.html").read_text()
    assert "Left out, having failed an attention check: P03, P11." in page
    assert "18" in page
    assert "of 20 raters counted" in page
    assert "is preferred to every other method" in page
    assert "bsr<b>" not in page
    assert page.count("bsr&lt;b&gt;&amp;$_$") > 10
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert (out / "closest-ranking.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "best-duels.pdf").is_file()


def test_pairs_are_balanced_and_the_same_for_all_photos(pictures: Path, tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", methods(pictures), real=pictures / "real", mode="pairs", photos=6, questions=6)
    (part,) = study.parts
    for turn in range(6):
        asked = [question for question in part.questions if question.round == turn]
        assert len({question.photo for question in asked}) == 6
        assert len({tuple(sorted(question.candidates.values())) for question in asked}) == 6
    assert part.length == 6 + 2


def test_raters_see_no_names(pictures: Path, study: Path) -> None:
    """Neither in the page nor in names, bytes, sizes or dates of files; and the server hands out nothing else."""
    found = read_study(study)
    public = [path for path in (study / "public").rglob("*") if path.is_file()]
    assert {path.stem for path in public} == {"index"} | found.pictures
    secrets = [*STRENGTHS, *(question.photo for question in found.questions.values()), str(pictures), GOOD]
    for path in public:
        content = path.read_bytes().lower()
        assert not [word for word in secrets if word.lower().encode() in content or word in path.name]
    images = [path for path in public if path.suffix == ".webp"]
    assert len({path.stat().st_mtime for path in images}) == 1
    assert not any(set(Image.open(path).info) & {"exif", "icc_profile", "xmp"} for path in images)
    question = next(question for question in found.questions.values() if not question.is_check)
    for name, method in question.candidates.items():  # and yet they are the pictures of the methods, to the last bit
        original = Image.open(pictures / method / "syn" / f"{question.photo}.png")
        assert Image.open(study / "public" / "images" / f"{name}.webp").tobytes() == original.tobytes()
    with serving(study) as server:
        for path in ("key.json", "votes.sqlite", "images/../../key.json", "images/%2e%2e/%2e%2e/key.json", "images/"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(server.url + path)
        page = urllib.request.urlopen(server.url).read()
        assert b'data-served="true"' in page
        assert not [word for word in secrets if word.encode() in page.lower()]


def test_orders_in_the_key_say_nothing_of_methods(pictures: Path, tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", methods(pictures), real=pictures / "real")
    first = Counter(
        question.candidates[shown["candidates"][0]]
        for shown in study.public()["parts"][0]["questions"]
        if not (question := study.questions[shown["id"]]).is_check
    )
    assert len(first) > 1


# ---------------------------------------------------------------------------------------------------------------- votes


def test_votes_count_once_and_the_last_change_wins(study: Path) -> None:
    found = read_study(study)
    question = next(iter(found.questions.values()))
    shown = tuple(question.candidates)
    first, second, third = (Vote(question.id, shown[i], shown, 1.0, 1.0, i + 1) for i in range(3))
    with serving(study) as server:

        def send(vote: Vote) -> tuple[int, dict[str, Any]]:
            return post(server.url, "vote", sendable(found, "anna", vote))

        def kept() -> list[dict[str, Any]]:
            return post(server.url, "start", {"study": found.id, "rater": "anna"})[1]["votes"]

        assert [send(first)[0], send(first)[0]] == [200, 200]
        assert send(third) == (200, {"revision": 3})
        assert send(second) == (409, {"revision": 3})  # came late
        assert [vote["choice"] for vote in kept()] == [shown[2]]
        assert post(server.url, "finish", {"study": found.id, "rater": "anna"})[0] == 409  # answers are missing
        for vote in answer(found, random.Random(0)):
            send(vote)
        assert post(server.url, "finish", {"study": found.id, "rater": "anna"})[0] == 200
        assert send(third) == (200, {"revision": 3})  # sent again: still the same answer
        assert send(Vote(question.id, shown[0], shown, 1.0, 1.0, 9))[0] == 403
        assert shown[2] in [vote["choice"] for vote in kept()]

        wrongs: list[dict[str, Any]] = [{"choice": "0" * 16}, {"choice": ["x"]}, {"question": "x"}, {"question": ["x"]}]
        wrongs += [
            {"shown": shown[:2]},
            {"seconds": -1},
            {"zoom": "1"},
            {"revision": 0},
            {"revision": True},
            {"extra": 1},
        ]
        for wrong in wrongs:
            content = sendable(found, "bert", first)
            content["vote"] = content["vote"] | wrong
            assert post(server.url, "vote", content)[0] == 400, wrong
        assert post(server.url, "vote", sendable(found, "../bert", first))[0] == 400
        assert post(server.url, "vote", sendable(found, "bert", first), "text/plain")[0] == 400  # another site's form
        assert post(server.url, "vote", sendable(found, "bert", first) | {"study": "another"})[0] == 400
        assert post(server.url, "vote", [1])[0] == 400
        assert post(server.url, "nothing", {})[0] == 404
        assert [ballot.rater for ballot in server.votes.ballots()] == ["anna"]


def test_kill_loses_no_confirmed_vote(study: Path, pictures: Path, tmp_path: Path) -> None:
    """`seesr study serve`, killed while eight raters vote."""
    found = read_study(study)
    command = [sys.executable, "-m", "seesr.apps.cli", "study", "serve", str(study), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    url = line.partition("Open ")[2].partition(" ")[0]
    assert url.startswith("http://127.0.0.1:"), line
    confirmed: set[tuple[str, str, int]] = set()
    enough = threading.Event()

    def vote_on(number: int) -> None:
        rng, revision = random.Random(number), 0
        while True:
            revision += 1
            for vote in answer(found, rng):
                again = Vote(vote.question, vote.choice, vote.shown, 1.0, 1.0, revision)
                try:
                    status, _ = post(url, "vote", sendable(found, f"R{number}", again))
                except (OSError, http.client.HTTPException):  # no answer, or half of one
                    return
                assert status == 200
                confirmed.add((f"R{number}", vote.question, revision))
                if len(confirmed) > 60:
                    enough.set()

    with ThreadPoolExecutor(8) as pool:
        voting = [pool.submit(vote_on, number) for number in range(8)]
        assert enough.wait(60)
        process.send_signal(signal.SIGKILL)
        for each in voting:
            each.result(60)
    process.wait(20)
    process.stdout.close()
    kept = {
        (ballot.rater, vote.question): vote.revision
        for ballot in read_ballots(study, found)
        for vote in ballot.votes.values()
    }
    assert all(kept[rater, question] >= revision for rater, question, revision in confirmed)


def test_files_of_raters_count_beside_the_database(study: Path, seesr: Callable[..., Any], tmp_path: Path) -> None:
    found = read_study(study)
    (study / "results").mkdir()
    votes = {vote.question: vote for vote in answer(found, random.Random(1))}
    database = VoteDatabase(study / "votes.sqlite", found)
    for vote in list(votes.values())[:3]:
        database.vote("anna", vote)
    database.close()
    content = ballot_content(found, Ballot("anna", True, votes))
    (study / "results" / "anna.json").write_text(json.dumps(content))
    (ballot,) = read_ballots(study, found)
    assert ballot.finished
    assert ballot.votes == votes

    other = next(name for name in content["votes"][0]["shown"] if name != content["votes"][0]["choice"])
    content["votes"][0]["choice"] = other
    for text, reason in (
        (json.dumps(content), "contradicts another vote of rater anna"),
        (json.dumps(content | {"study": "x"}), "answers to another study"),
        ("{", "damaged"),
        ("[]", "damaged"),
    ):
        (study / "results" / "b.json").write_text(text)
        outcome = seesr("study", "report", study, "-o", tmp_path / "report")
        assert outcome.code == 2
        assert "b.json" in outcome.err
        assert reason in outcome.err
    assert not (tmp_path / "report").exists()


def test_finished_votes_are_final(study: Path) -> None:
    found = read_study(study)
    database = VoteDatabase(study / "votes.sqlite", found)
    votes = answer(found, random.Random(0))
    for vote in votes:
        database.vote("a", vote)
    assert database.finish("a", found.length) == 0
    with pytest.raises(RaterFinished):
        database.vote("a", Vote(votes[0].question, votes[0].choice, votes[0].shown, 9.0, 1.0, 2))
    database.close()


# ------------------------------------------------------------------------------------------------------------ bad input


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
