"""`seesr study`: simulated raters' strengths come back, pairs are balanced, pages keep secrets."""

import csv
import http.client
import json
import random
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from study_cases import STRENGTHS, answer, make_pictures, methods, options, sendable, serving, small_study

from seesr.study.design import GOOD, read_study
from seesr.study.make import make_study


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def study(pictures: Path, tmp_path: Path) -> Path:
    return small_study(pictures, tmp_path / "study")


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


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
