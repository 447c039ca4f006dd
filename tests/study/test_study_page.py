"""The raters' page in a real browser: from a file and served, by keyboard, mouse and touch."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_browser
from PIL import Image

from seesr.study.design import Study, read_study
from seesr.study.make import make_study
from seesr.study.votes import read_ballot, read_ballots

pytestmark = pytest.mark.skipif(find_browser() is None, reason="needs Chromium or Chrome; apt-get install chromium")

READY = (
    "!document.querySelector('#ask').hidden && !document.querySelector('#stage.loading') && stage.children.length > 0"
)
TRANSFORMS = "[...document.querySelectorAll('.view img')].map(image => image.style.transform)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _desktop(browser: Browser) -> None:
    browser.resize(1280, 800)
    browser.problems.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three methods, two photos with references and one without, a check of each kind: five questions."""
    rng = np.random.default_rng(0)
    for place, names, side in (("lr", "ab", 16), ("hr", "ab", 64), ("real", "c", 16), *((m, "abc", 64) for m in "xyz")):
        (tmp_path / place).mkdir()
        for name in names:
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(
                tmp_path / place / f"{name}.png"
            )
    methods = [(name, tmp_path / name) for name in "xyz"]
    inputs = {name: tmp_path / name for name in ("lr", "hr", "real")}
    make_study(tmp_path / "study", methods, **inputs, checks=1)
    return tmp_path / "study"


def start(browser: Browser, url: str, rater: str) -> None:
    browser.open(f"{url}?rater={rater}")
    browser.click("#start button")


def on_page(browser: Browser) -> list[str]:
    """The candidates' pictures as they stand on the page."""
    browser.wait(READY)
    sources = browser.evaluate("[...document.querySelectorAll('.panel:not(.source) .over')].map(image => image.src)")
    return [Path(source).stem for source in sources]


def current(browser: Browser, study: Study) -> str:
    """Id of the question on the page."""
    shown = set(on_page(browser))
    return next(question.id for question in study.questions.values() if set(question.candidates) == shown)


def shown_place(browser: Browser) -> str:
    browser.wait(READY)
    return browser.evaluate("document.querySelector('#place').textContent")


def test_a_study_from_a_file_by_keyboard(browser: Browser, folder: Path, tmp_path: Path) -> None:
    study, url = read_study(folder), (folder / "public" / "index.html").as_uri()
    start(browser, url, "anna")
    chosen: dict[str, str] = {}

    # The first question: zoom and pan move all pictures alike, R shows the reference in place
    first = on_page(browser)
    assert browser.evaluate("document.querySelector('#next').disabled")
    whole = browser.evaluate(TRANSFORMS)
    x, y = browser.middle(".panel:not(.source) .view")
    browser.mouse("mouseWheel", x + 40, y + 10, deltaX=0, deltaY=-400)
    enlarged = browser.wait(f"(now => now[0] !== {json.dumps(whole[0])} && now)({TRANSFORMS})")
    assert len(set(enlarged)) == 1
    browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    browser.mouse("mouseMoved", x - 30, y - 20, buttons=1)
    browser.mouse("mouseReleased", x - 30, y - 20, button="left")
    moved = browser.wait(f"(now => now[0] !== {json.dumps(enlarged[0])} && now)({TRANSFORMS})")
    assert len(set(moved)) == 1
    visible = "[...document.querySelectorAll('.panel:not(.source)')].map(panel => [...panel.querySelectorAll('img')]" \
        ".find(image => getComputedStyle(image).visibility === 'visible').src)"  # fmt: skip
    assert [Path(source).stem for source in browser.evaluate(visible)] == first
    browser.press("r", up=False)
    assert {Path(source).stem for source in browser.evaluate(visible)} == {
        study.questions[current(browser, study)].source
    }
    browser.release("r")
    assert [Path(source).stem for source in browser.evaluate(visible)] == first
    browser.press("0")
    assert browser.evaluate(TRANSFORMS) == whole

    # Choose, go on, come back, change
    for key, index in (("b", 1), ("3", 2)):
        shown = on_page(browser)
        chosen[current(browser, study)] = shown[index]
        browser.press(key)
        browser.press("Enter")
    assert shown_place(browser) == "3 of 5"
    browser.press("Backspace")
    browser.press("Backspace")
    assert on_page(browser) == first
    assert browser.evaluate("chosen()") == first[1]
    chosen[current(browser, study)] = first[0]
    browser.press("a")
    browser.press("Enter")

    # Away, and back where it stopped; another rater meets other orders
    start(browser, url, "bert")
    plans = {"bert": browser.evaluate("plan.map(step => step.shown)")}
    browser.open(f"{url}?rater=anna")
    assert browser.evaluate("document.querySelector('#start button').textContent") == "Continue"
    browser.press("Tab")
    browser.click("#start button")
    plans["anna"] = browser.evaluate("plan.map(step => step.shown)")
    assert plans["anna"] != plans["bert"]
    assert sorted(map(sorted, plans["anna"])) == sorted(map(sorted, plans["bert"]))
    while (place := shown_place(browser)) != "5 of 5":
        chosen[current(browser, study)] = on_page(browser)[0]
        browser.press("a")
        browser.press("Enter")
        browser.wait(f"document.querySelector('#place').textContent !== '{place}'")
    chosen[current(browser, study)] = on_page(browser)[0]
    browser.press("a")
    browser.press("Enter")

    # The end: a file, which the report reads
    browser.wait("!document.querySelector('#end').hidden")
    browser.click("#finish")
    browser.wait("!document.querySelector('#download').hidden")
    browser.click("#download")
    file = browser.folder / "study-anna.json"
    end = time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
    ballot = read_ballot(file, study)
    assert ballot.finished
    assert {vote.question: vote.choice for vote in ballot.votes.values()} == chosen
    assert sorted(vote.revision for vote in ballot.votes.values()) == [1, 1, 1, 1, 2]
    assert max(vote.zoom for vote in ballot.votes.values()) > 1
    assert browser.problems == []


def test_a_served_study_survives_its_server(browser: Browser, folder: Path) -> None:
    study = read_study(folder)

    def serve(port: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "seesr.apps.cli", "study", "serve", str(folder), "--port", port]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        return process, process.stdout.readline().partition("Open ")[2].partition(" ")[0]

    def kill(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate(timeout=20)

    def vote() -> None:
        on_page(browser)
        browser.click(".panel:not(.source) label")
        browser.wait("!document.querySelector('#next').disabled")
        browser.click("#next")

    server, url = serve("0")
    start(browser, url, "carla")
    vote()
    browser.wait("document.querySelector('#status').textContent === 'saved'")
    browser.evaluate("Promise.all([...stage.querySelectorAll('img')].map(image => image.decode()))")
    kill(server)
    (ballot,) = read_ballots(folder, study)
    assert (ballot.rater, len(ballot.votes)) == ("carla", 1)
    before = browser.evaluate("document.querySelector('#place').textContent")
    vote()
    browser.wait(f"document.querySelector('#place').textContent !== '{before}'")
    browser.wait("document.querySelector('#status').textContent.startsWith('not yet sent')")

    server, again = serve(url.rpartition(":")[2].strip("/"))
    assert again == url
    try:
        browser.wait("document.querySelector('#status').textContent === 'saved'")
        browser.evaluate("localStorage.clear()")  # as on another device: what the server has is enough
        start(browser, url, "carla")
        assert shown_place(browser) == "3 of 5"
        for _ in range(3):
            before = shown_place(browser)
            vote()
            browser.wait(f"document.querySelector('#place').textContent !== '{before}' || ask.hidden")
        browser.wait("!document.querySelector('#end').hidden")
        browser.click("#finish")
        browser.wait("document.querySelector('#end-title').textContent === 'Thank you'")
    finally:
        kill(server)
    (ballot,) = read_ballots(folder, study)
    assert ballot.finished
    assert set(ballot.votes) == set(study.questions)
    assert all("Failed to load resource" in problem for problem in browser.problems)  # while the server was away


def test_a_phone_shows_one_picture_at_a_time(browser: Browser, folder: Path) -> None:
    browser.resize(390, 844, touch=True)
    start(browser, (folder / "public" / "index.html").as_uri(), "dora")
    on_page(browser)
    count = "[...document.querySelectorAll('.panel')].filter(panel => panel.offsetParent).length"
    assert browser.evaluate(count) == 1
    whole = browser.evaluate(TRANSFORMS)
    x, y = browser.middle(".panel.shown .view")
    browser.touch("touchStart", (x - 20, y), (x + 20, y))
    browser.touch("touchMove", (x - 90, y), (x + 90, y))
    browser.touch("touchEnd")
    zoomed = browser.wait(f"(now => now[0] !== {json.dumps(whole[0])} && now)({TRANSFORMS})")
    assert len(set(zoomed)) == 1
    browser.click("#tabs button:nth-child(3)")
    assert browser.evaluate("[...stage.children].findIndex(panel => panel.classList.contains('shown'))") == 2
    browser.click(".panel.shown label")
    assert browser.evaluate("document.querySelector('#tabs button:nth-child(3)').textContent") == "B ✓"
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    right = "Math.max(...[...document.querySelectorAll('#tools button')].map(one => one.getBoundingClientRect().right))"
    assert browser.evaluate(f"{right} <= innerWidth")
    assert not browser.evaluate("document.querySelector('#next').disabled")
    assert browser.problems == []


def test_everything_to_press_has_a_name(browser: Browser, folder: Path) -> None:
    """As assistive technology sees the page: roles, names, the choice as a group of radio buttons."""
    start(browser, (folder / "public" / "index.html").as_uri(), "emil")
    on_page(browser)
    browser.call("Accessibility.enable")
    nodes = [node for node in browser.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]

    def named(role: str) -> list[str]:
        return [node["name"]["value"] for node in nodes if node["role"]["value"] == role]

    assert named("radio") == ["choose picture A", "choose picture B", "choose picture C"]
    assert named("radiogroup") == [browser.evaluate("document.querySelector('#asked').textContent")]
    assert all(named("button"))
    assert {"picture A", "picture B", "picture C"} < set(named("image") + named("img"))


def test_a_missing_picture_stops_the_vote(browser: Browser, folder: Path) -> None:
    for path in (folder / "public" / "images").iterdir():
        path.rename(path.with_suffix(".away"))
    start(browser, (folder / "public" / "index.html").as_uri(), "fritz")
    browser.wait("document.querySelector('.broken') !== null")
    browser.press("a")
    assert browser.evaluate("document.querySelector('#next').disabled")
    for path in (folder / "public" / "images").iterdir():
        path.rename(path.with_suffix(".webp"))
    browser.click(".broken button")
    on_page(browser)
    browser.press("a")
    assert not browser.evaluate("document.querySelector('#next').disabled")


def test_pairs_stand_beside_the_reference(browser: Browser, folder: Path, tmp_path: Path) -> None:
    methods: list[tuple[str, Path]] = [(name, tmp_path / name) for name in "xyz"]
    make_study(tmp_path / "pairs", methods, hr=tmp_path / "hr", mode="pairs", checks=1)
    start(browser, (tmp_path / "pairs" / "public" / "index.html").as_uri(), "gina")
    assert shown_place(browser) == "1 of 7"
    on_page(browser)
    captions = browser.evaluate("[...stage.children].map(panel => panel.querySelector('.caption').textContent)")
    assert captions == ["A", "Reference", "B"]
