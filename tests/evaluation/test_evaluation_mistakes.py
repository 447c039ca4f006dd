"""What `seesr evaluate` refuses: before any work, in words that name the file or the setting."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_cases import make_testset
from PIL import Image

from seesr.errors import SeesrError
from seesr.evaluation.baselines.seesr_model import parse_settings
from seesr.evaluation.methods import make_method
from seesr.evaluation.run import folder_name, read_testset, run_evaluation

CPU = torch.device("cpu")


@pytest.fixture
def testset(tmp_path: Path) -> Path:
    return make_testset(tmp_path / "set")


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
