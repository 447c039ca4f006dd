"""Votes of a study: counted once, the last change wins, none confirmed is lost, from a server or from files."""

import http.client
import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from study_cases import answer, make_pictures, post, sendable, serving, small_study

from seesr.study.design import read_study
from seesr.study.votes import Ballot, RaterFinished, Vote, VoteDatabase, ballot_content, read_ballots


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def study(pictures: Path, tmp_path: Path) -> Path:
    return small_study(pictures, tmp_path / "study")


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
