"""`seesr evaluate`: figures by value, restorations done once, one page that holds all."""

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
from evaluation_cases import COPY, make_testset
from PIL import Image

from seesr.errors import SeesrError
from seesr.evaluation.baselines import seesr_model
from seesr.evaluation.baselines.bicubic import Bicubic
from seesr.evaluation.baselines.interface import Case, Restored
from seesr.evaluation.methods import make_method
from seesr.evaluation.run import read_testset, run_evaluation
from seesr.metrics.psnr_ssim import psnr
from seesr.photos.photo import read_photo
from seesr.photos.pictures import to_tensor

CPU = torch.device("cpu")


@pytest.fixture
def testset(tmp_path: Path) -> Path:
    return make_testset(tmp_path / "set")


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
