"""The report of an evaluation in a real browser."""

import json
from pathlib import Path

import pytest
import torch
from browser import Browser, find_browser
from evaluation_cases import COPY, make_testset

from seesr.evaluation.baselines.bicubic import Bicubic
from seesr.evaluation.methods import make_method
from seesr.evaluation.report import write_report
from seesr.evaluation.run import read_testset, run_evaluation

CPU = torch.device("cpu")


@pytest.fixture
def testset(tmp_path: Path) -> Path:
    return make_testset(tmp_path / "set")


@pytest.mark.skipif(find_browser() is None, reason="needs Chromium or Chrome; apt-get install chromium")
def test_the_report_compares_pictures_in_a_browser(testset: Path, tmp_path: Path) -> None:
    pasted = make_method(f"command:{COPY.replace('(32, 32)', '(32, 32), 0')} {{input}} {{output}}", CPU)
    results = run_evaluation(read_testset(testset), [Bicubic(), pasted], ["PSNR"], tmp_path / "out", against="bicubic")
    write_report(results, tmp_path / "report.html")
    psnr_of = [{row["image"]: row["PSNR"] for row in method.evaluation.rows} for method in results.methods]
    places = "[...document.querySelectorAll('.view img')].map(image => image.style.transform)"
    names = "[...document.querySelectorAll('h3')].map(one => one.textContent)"
    with Browser(tmp_path / "browser") as browser:
        browser.open((tmp_path / "report.html").as_uri())
        assert browser.evaluate(names) == sorted(psnr_of[1], key=psnr_of[1].__getitem__)
        for value, key in (("0", psnr_of[0].get), ("1,0", lambda name: psnr_of[1][name] - psnr_of[0][name])):
            browser.evaluate(f"sortMethod.value = '{value}'; sortMethod.onchange()")
            assert browser.evaluate(names) == sorted(psnr_of[0], key=key)  # worst first

        browser.click("#gallery img")
        frames = "[...document.querySelectorAll('.view')].map(one => [one.clientWidth, one.clientHeight].join('x'))"
        assert len(browser.evaluate(frames)) == 4  # low resolution, two methods, reference
        assert len(set(browser.evaluate(frames))) == 1
        x, y = browser.middle(".view")
        browser.mouse("mouseWheel", x + 9, y + 9, deltaX=0, deltaY=-400)
        enlarged = browser.wait(f"{places}[0].includes('scale(2.7') && {places}")
        browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        browser.mouse("mouseMoved", x - 30, y - 20, buttons=1)
        browser.mouse("mouseReleased", x - 30, y - 20, button="left")
        moved = browser.wait(f"{places}[0] !== {json.dumps(enlarged[0])} && {places}")
        assert len(set(enlarged)) == len(set(moved)) == 1
        browser.press("ArrowRight")
        assert browser.evaluate("document.querySelector('#viewer b').textContent").endswith("(2 of 3)")
        browser.press("Escape")

        browser.resize(390, 844, touch=True)
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        browser.click("#gallery img")
        assert len(set(browser.evaluate(frames))) == 1
        x, y = browser.middle(".view")
        browser.touch("touchStart", (x - 20, y), (x + 20, y))
        browser.touch("touchMove", (x - 60, y), (x + 60, y))
        browser.touch("touchEnd")
        assert len(set(browser.wait(f"{places}[0].includes('scale(3)') && {places}"))) == 1
        assert browser.problems == []
