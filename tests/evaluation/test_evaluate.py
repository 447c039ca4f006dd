"""`seesr evaluate`: figures by value, restorations done once, one page that holds all, errors that name the file."""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser, find_browser
from PIL import Image

from seesr.errors import SeesrError
from seesr.evaluation.baselines import seesr_model
from seesr.evaluation.baselines.bicubic import Bicubic
from seesr.evaluation.baselines.interface import Case, Restored
from seesr.evaluation.baselines.seesr_model import parse_settings
from seesr.evaluation.methods import make_method
from seesr.evaluation.published import Reproduction, published_as, published_for, reproductions
from seesr.evaluation.report import p_text, signed, write_report
from seesr.evaluation.run import folder_name, read_testset, run_evaluation
from seesr.metrics.psnr_ssim import psnr
from seesr.photos.photo import read_photo
from seesr.photos.pictures import to_tensor

CPU = torch.device("cpu")
COPY = f'{sys.executable} -c "import sys, PIL.Image as I; I.open(sys.argv[1]).resize((32, 32)).save(sys.argv[2])"'


@pytest.fixture
def testset(tmp_path: Path) -> Path:
    """Three random 8x8 pictures and their 32x32 references."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        for side, size in (("lr", 8), ("hr", 32)):
            (tmp_path / "set" / side).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / side / f"{name}.png")
    return tmp_path / "set"


class Counting(Bicubic):
    """Bicubic that keeps the names it was asked for."""

    def __init__(self, identity: str = "1") -> None:
        self.identity = identity
        self.asked: list[str] = []

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        self.asked += [case.path.stem for case in cases]
        return super().restore(cases, scale)


def test_command_measures_compares_and_reports(
    testset: Path, tmp_path: Path, seesr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for picture in (testset / "lr" / "a.png", testset / "hr" / "a.png"):
        picture.rename(picture.with_name("<!--<script>.png"))
    theirs, out = tmp_path / "theirs", tmp_path / "out"
    theirs.mkdir()
    for picture in (testset / "hr").iterdir():  # nearly the references; equal ones would have an infinite PSNR
        Image.fromarray(np.asarray(Image.open(picture)) // 2).save(theirs / picture.name)
    folder = f"folder:{theirs}"
    options = ["--method", "bicubic", "--method", folder, "--method", f"command:{COPY} {{input}} {{output}}"]
    outcome = seesr(
        "evaluate", "--testset", testset, "-o", out, "--metrics", "psnr,SSIM", "--against", "bicubic", *options
    )
    assert outcome.code == 0, outcome.err
    assert "differences are to bicubic" in outcome.out

    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows[::3]] == options[1::2]
    expected = psnr(
        to_tensor(read_photo(testset / "lr" / "b.png").rgb.resize((32, 32), Image.Resampling.BICUBIC)),
        to_tensor(read_photo(testset / "hr" / "b.png").rgb),
    )
    assert float(next(row["PSNR"] for row in rows if row["image"] == "b")) == pytest.approx(float(expected))
    assert [float(row["PSNR"]) for row in rows[6:]] == pytest.approx([float(row["PSNR"]) for row in rows[:3]])
    assert all(float(row["seconds"]) > 0 for row in (*rows[:3], *rows[6:]))
    assert rows[3]["seconds"] == ""

    record = json.loads((out / "evaluation.json").read_text())
    means = {name: method["summary"]["PSNR"]["mean"] for name, method in record["methods"].items()}
    assert record["differences"]["PSNR"][folder]["mean"] == pytest.approx(means[folder] - means["bicubic"])
    assert record["testset"] | {"folder": ""} == {"folder": "", "pictures": 3, "references": True, "scale": 4}

    assert all(method["restored_on"] for name, method in record["methods"].items() if name != folder)

    table = [line.split(" | ") for line in (out / "table.md").read_text().splitlines()]
    cells = {row[0]: row[1:] for row in reversed(table)}  # the first table is the one that counts
    for method in options[1::2]:
        assert cells[f"| `{method}`"][0].strip("*").startswith(f"{means[method]:.2f}")
        assert ("**" in cells[f"| `{method}`"][0]) == (means[method] == max(means.values()))

    page = (out / "report.html").read_text()
    assert "{{" not in page
    assert not re.search(r"(src|href)=|https?://", page)  # nothing is fetched
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert {picture["name"] for picture in data["pictures"]} == {"<!--<script>", "b", "c"}
    scores = {row["image"]: float(row["SSIM"]) for row in rows[:3]}
    for picture in data["pictures"]:
        assert picture["scores"][0][1] == scores[picture["name"]]
        image = Image.open(io.BytesIO(base64.b64decode(picture["images"][1].partition(",")[2])))
        assert image.size == (32, 32)


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


def test_only_what_is_missing_or_changed_is_restored(testset: Path, tmp_path: Path) -> None:
    def run(method: Counting, limit: int | None = None) -> list[str]:
        results = run_evaluation(read_testset(testset, limit), [method], ["PSNR"], tmp_path / "out")
        assert len(results.rows()) == (limit or 3)
        return method.asked

    assert run(Counting(), limit=2) == ["a", "b"]
    assert run(Counting()) == ["c"]
    assert run(Counting(), limit=1) == []  # the others, still in the folder, are not scored

    folder = tmp_path / "out" / "restored" / "bicubic"
    (folder / "b.png").unlink()
    log = folder / "restored.jsonl"
    log.write_text(log.read_text()[:-20])  # as if killed after the picture of c, while writing down that it is whole
    assert run(Counting()) == ["b", "c"]
    Image.new("RGB", (8, 8), "red").save(testset / "lr" / "a.png")
    assert run(Counting()) == ["a"]
    assert run(Counting("2")) == ["a", "b", "c"]
    Image.new("RGB", (32, 32)).save(folder / "b.png")  # by another hand
    assert run(Counting("2")) == ["b"]


def test_without_references_says_what_it_cannot_measure(testset: Path, tmp_path: Path) -> None:
    with pytest.raises(SeesrError, match=r"none of the metrics can be computed .*PSNR: needs reference"):
        run_evaluation(read_testset(testset / "lr"), [Bicubic()], ["PSNR"], tmp_path / "out")
    assert len(list((tmp_path / "out" / "restored" / "bicubic").glob("*.png"))) == 3


def test_settings_reach_the_pipeline(monkeypatch: pytest.MonkeyPatch, testset: Path) -> None:
    calls: list[dict[str, Any]] = []

    class Pipeline:
        def profile(self, name: str | None) -> None: ...

        def __call__(self, image: Image.Image, **settings: Any) -> SimpleNamespace:
            calls.append(settings)
            return SimpleNamespace(images=[image])

    monkeypatch.setattr(seesr_model, "_load", lambda *arguments: Pipeline())
    method = make_method("mini:diffusion,start=noise,tags=,guidance_scale=3,exclude_tags=a cat+tree,embedding=on", CPU)
    image = Image.new("RGB", (8, 8))
    assert method.restore([Case(Path("x.png"), image)], 4)[0].image is image
    settings = {"profile": "diffusion", "start_point": "noise", "tags": [], "guidance_scale": 3.0, "seed": 0}
    settings["use_image_embeds"] = True
    assert calls == [settings | {"exclude_tags": ["a cat", "tree"], "scale": 4}]
    assert method.settings.items() > settings.items()
    assert method.identity != make_method("mini:diffusion", CPU).identity
    assert make_method("mini:paper", CPU).settings["dtype"] == "float32"

    monkeypatch.undo()
    with pytest.raises(SeesrError, match=r"`fidelity` cannot be 7\.0; give a number from 0 to 1"):
        make_method("mini:fidelity=7", CPU)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_peak_memory_is_that_of_the_work(testset: Path) -> None:
    """In a process of its own: what other tests left in this one's memory would hide the difference."""
    check = f"from pathlib import Path; import test_evaluate as t; t.check_peak_memory(Path({str(testset)!r}))"
    helpers = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", check],
        cwd=Path(__file__).parent,
        env=helpers,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def check_peak_memory(testset: Path) -> None:
    case = Case(testset / "lr" / "a.png", read_photo(testset / "lr" / "a.png").rgb)
    small = Bicubic().restore([case], 4)[0].peak_bytes
    large = Bicubic().restore([case], 1024)[0].peak_bytes  # 8192 x 8192 pixels, of 4 bytes in Pillow's memory
    assert small is not None
    assert large is not None
    assert large - small > 250 * 2**20
    after = Bicubic().restore([case], 4)[0].peak_bytes
    assert after is not None
    assert after - small < 100 * 2**20

    def peak_of(program: str) -> int | None:
        return make_method(f"command:{program} {{input}} {{output}}", CPU).restore([case], 4)[0].peak_bytes

    wanted = after + 2**28  # bytes: a program that takes less than this process cannot be told from it
    assert peak_of(COPY) is None
    assert (peak_of(COPY.replace("I; ", f"I; kept = b'1' * {wanted}; ")) or 0) > wanted


def test_names_that_are_no_methods(tmp_path: Path) -> None:
    for name, match in {
        "bicubik": "no method 'bicubik'",
        "mini:colour=red": "no setting 'colour'",
        "mini:steps=many": "`num_inference_steps` cannot be 'many'; give a whole number",
        "mini:embedding=maybe": "`use_image_embeds` cannot be 'maybe'; give on or off",
        "mini:guidance_interval=0.2": r"`guidance_interval` cannot be '0\.2'; give two numbers",
        "mini:tagger=clip": "give dape or ram",
        f"folder:{tmp_path / 'nowhere'}": "nowhere is no folder",
        "command:cp {input}": r"no \{output\}",
        'command:"cp {input} {output}': "check its quotes",
    }.items():
        with pytest.raises(SeesrError, match=match):
            make_method(name, CPU)
    assert parse_settings("") == {}
    names = {
        folder_name(name) for name in ("mini", "mini:a", "mini-a", "folder:/x/y", "folder:/x-y", "../..", "a" * 300)
    }
    assert len(names) == 7
    assert all(re.fullmatch(r"[\w.=,+-]{1,70}", name) and ".." not in name for name in names)


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has to be fetched is, and what is wrong with it said, before any work; parsing fetches nothing."""
    asked: list[str] = []

    def offline(name: str) -> Path:
        asked.append(name)
        raise SeesrError(f"{name} cannot be built: 1 of its files could not be fetched")

    monkeypatch.setattr("seesr.checkpoints.registry.install", offline)
    with pytest.raises(SeesrError, match="no setting 'colour'"):
        make_method("sd2-turbo:colour=red", CPU)
    assert asked == []
    with pytest.raises(SeesrError, match=r"^sd2 cannot be built"):
        make_method("sd2:paper,start=noise", CPU)
    assert asked == ["sd2"]


def test_mistakes_are_told_before_weights_are_fetched(testset: Path, tmp_path: Path, seesr: Callable[..., Any]) -> None:
    command = ["evaluate", "--testset", testset, "--method", "nobody", "-o", tmp_path / "out"]
    for options, match in (
        (["--metrics", "psrn"], "no metric 'psrn'; there are PSNR"),
        (["--metrics", ","], "--metrics ',' names none"),
        (["--against", "bicubic"], "--against cannot be 'bicubic': none of the methods"),
        (["--limit", 0], "--limit cannot be 0"),
        ([], "no method 'nobody': bicubic, realesrgan-x4plus"),
    ):
        outcome = seesr(*command, *options)
        assert (outcome.code, match in outcome.err) == (2, True), outcome.err


def test_errors_name_the_file(testset: Path, tmp_path: Path) -> None:
    def fails(match: str, name: str = "bicubic", metrics: Sequence[str] = ("PSNR",), **options: Any) -> None:
        with pytest.raises(SeesrError, match=match):
            run_evaluation(read_testset(testset), [make_method(name, CPU)], metrics, tmp_path / "out", **options)

    fails("no metric 'psrn'", metrics=["psrn"])
    fails("`against` cannot be 'mini': none of the methods", against="mini")
    fails(r"made 8x8 of .*a\.png; it should be 32x32", f"folder:{testset / 'lr'}")
    fails(r"ended with 3 for .*a\.png \(no luck\)", "command:sh -c 'echo no luck; exit 3' {input} {output}")
    fails(r"wrote no \{output\} for .*a\.png", "command:true {input} {output}")
    fails("no-such-program cannot be run", "command:no-such-program {input} {output}")

    Image.new("RGB", (30, 32)).save(testset / "hr" / "b.png")
    fails(r"hr/b\.png is 30x32, no whole multiple of the 8x8 of .*lr/b\.png")
    Image.new("RGB", (16, 16)).save(testset / "hr" / "b.png")
    fails(r"hr/b\.png enlarges 2 times, .*hr/a\.png 4 times")
    (testset / "hr" / "b.png").write_bytes(b"")
    fails(r"hr/b\.png: the file is empty")
    (testset / "hr" / "b.png").unlink()
    fails(r"lr/b\.png: no picture of that name in .*hr")
    for picture in (testset / "lr").iterdir():
        picture.unlink()
    fails("lr: no pictures in this folder")


def test_published_figures_go_with_the_test_sets_name() -> None:
    rows = {name: published_for(Path(name)) for name in ("realsr", "StableSR/DrealSRVal_crop128", "DIV2K_V2_val")}
    found = {row.testset: row for rows_of_set in rows.values() for row in rows_of_set if row.method == "SeeSR"}
    assert {name: row.scores["LPIPS"] for name, row in found.items()} == {
        "RealSR": 0.3009,
        "DRealSR": 0.3189,
        "DIV2K-Val": 0.3194,
    }
    assert found["DRealSR"].steps == 50
    assert found["DRealSR"].pictures == 93
    assert all(row.source and len(row.scores) == 9 for rows_of_set in rows.values() for row in rows_of_set)
    assert published_for(Path("RealSRSet")) == published_for(Path("photos")) == []


def test_what_was_reproduced_of_the_published_figures() -> None:
    for name, method in {
        "realesrgan-x4plus": "Real-ESRGAN",
        "folder:results/stablesr_200": "StableSR",
        "folder:results/seesr": "SeeSR",
        "spandrel:weights/FeMaSR_SRX4_model_g.pth": "FeMaSR",
        "sd2-seesr:paper": "SeeSR",
        "sd2": "SeeSR",
        "sd2:paper": "SeeSR",
    }.items():
        assert published_as(name) == method
    for name in ("bicubic", "mini:paper", "realesrgan-x4plus-anime", "sd2-turbo", "sd2:paper,start=noise", "sd2:fast"):
        assert published_as(name) is None

    means = {"PSNR": 25.75, "LPIPS": 0.2777}
    found = reproductions(Path("realsr"), 100, "realesrgan-x4plus", means)
    assert found["PSNR"] == Reproduction(25.69, pytest.approx(0.06), True)
    assert found["LPIPS"] == Reproduction(0.2727, pytest.approx(0.005), False)
    assert not reproductions(Path("realsr"), 10, "realesrgan-x4plus", means)  # other pictures, other means
    assert not reproductions(Path("photos"), 100, "realesrgan-x4plus", means)


def test_figures_in_words() -> None:
    assert [p_text(value) for value in (0.0001, 0.0256, 0.9996)] == ["< .001", "= .026", "= 1"]
    assert [signed(value, 2) for value in (0.3, -0.3, 0.001, -0.001)] == ["+0.30", "−0.30", "0.00", "0.00"]


def test_stablesrs_names_of_folders(testset: Path) -> None:
    for low, high in (("test_LR", "test_HR"), ("lq", "gt")):
        for old, new in zip(sorted(testset.iterdir(), reverse=True), (low, high)):
            old.rename(testset / new)
        found = read_testset(testset)
        assert found.scale == 4
        assert {pair.restored.parent.name for pair in found.pairs} == {low}
        (testset / low).rename(testset / "lr")
        (testset / high).rename(testset / "hr")
    (testset / "lr").rename(testset / "gt")
    with pytest.raises(SeesrError, match=r"has hr/ but no lr/"):
        read_testset(testset)


def test_the_command_starts_without_torch() -> None:
    code = "import sys, seesr.apps.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
