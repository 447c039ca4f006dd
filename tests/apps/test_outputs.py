"""No command replaces what it reads, or a file that it did not write; and what a manifest knows as ours."""

import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_cases import photo

from conftest import Outcome
from seesr.apps.jobs.database import NAME
from seesr.apps.jobs.known import Known
from seesr.apps.jobs.outputs import check_files, recorded
from seesr.errors import SeesrError
from seesr.system.atomic import csv_text, remove_parts, write_text
from seesr.system.shown import cell, shown
from seesr.training.run_folder import check_output

Run = Callable[..., Outcome]


def test_degrade(seesr: Run, tmp_path: Path) -> None:
    source = photo(tmp_path / "photo.png", (32, 32))
    own = photo(tmp_path / "own.png", seed=2)
    before = source.read_bytes(), own.read_bytes()
    (tmp_path / "link.png").symlink_to(source)
    for target in ("photo.png", "link.png"):
        outcome = seesr("degrade", source, "-o", tmp_path / target)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "own.png: is there already" in seesr("degrade", source, "-o", own).err
    assert (source.read_bytes(), own.read_bytes()) == before
    assert seesr("degrade", source, "-o", own, "--overwrite").code == 0
    assert seesr("degrade", source, "-o", own).code == 0  # ours by now
    with Known() as known:
        assert known.is_ours(own)
        assert not known.results_in(str(tmp_path))  # degraded photos are there to be restored


@pytest.mark.parametrize("name", ["report.html", "scores.csv", "restored/bicubic/a.png"])
def test_evaluate_keeps_files_of_others(seesr: Run, tmp_path: Path, name: str) -> None:
    photo(tmp_path / "set" / "lr" / "a.png", (16, 16)), photo(tmp_path / "set" / "hr" / "a.png", (64, 64))
    other = tmp_path / "out" / name
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    command = ("evaluate", "--testset", tmp_path / "set", "--method", "bicubic", "--metrics", "psnr", "-o")
    outcome = seesr(*command, tmp_path / "out")
    assert outcome.code == 2
    assert f"{other}: is there already" in outcome.err
    assert other.read_text() == "mine"
    assert seesr(*command, tmp_path / "new").code == 0
    assert seesr(*command, tmp_path / "new").code == 0


def test_data_and_training_keep_files_of_others(seesr: Run, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png", (32, 32))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("mine")
    pack = ("data", "pack", tmp_path / "in", "-o", tmp_path / "out")
    assert "manifest.json: is there already" in seesr(*pack).err
    assert (tmp_path / "out" / "manifest.json").read_text() == "mine"
    assert seesr(*pack, "--overwrite").code == seesr(*pack).code == 0
    (tmp_path / "out" / "out-00000.index.json").write_text('{"mine": 1}')
    index = ("data", "index", tmp_path / "out" / "out-00000.tar")
    assert "out-00000.index.json: is there already and no index" in seesr(*index).err
    assert seesr(*index, "--overwrite").code == 0


def test_training_keeps_files_of_others(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "metrics.jsonl").write_text("mine\n")
    with pytest.raises(SeesrError, match=r"metrics\.jsonl, .*model: are there already and not written by a training"):
        check_output(tmp_path)
    check_output(tmp_path, overwrite=True)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "samples": 0, "final": false}\n')
    check_output(tmp_path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("tags", "tags.json"), ("tags", "restored/mini/a.png"), ("tags", "lr/a.png"), ("coco", "panoptic/HR/a.png")],
)
def test_semantics_keep_files_of_others(seesr: Run, tmp_path: Path, kind: str, name: str) -> None:
    photo(tmp_path / "hr" / "a.png", (64, 64))
    other = tmp_path / "out" / name
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    networks = {"tags": ["--tagger"], "coco": ["--panoptic", tmp_path / "none.json", "--segmenter"]}[kind]
    command = ("semantics", kind, "--testset", tmp_path / "hr", "--degrade", "mild", "--method", "mini")
    outcome = seesr(*command, *networks, tmp_path / "none", "-o", tmp_path / "out")
    assert (outcome.code, f"{other}: is there already" in outcome.err) == (2, True), outcome.err


def test_prompts_keep_files_of_others(seesr: Run, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png", (16, 16))
    other = tmp_path / "out" / "a.png.json"
    other.parent.mkdir()
    other.write_text("mine")
    for target in (tmp_path / "out", tmp_path / "out" / "a.png"):
        source = tmp_path / "in" if target.is_dir() else tmp_path / "in" / "a.png"
        outcome = seesr("upscale", source, "-o", target, "--save-prompts")
        assert (outcome.code, f"{other}: is there already" in outcome.err) == (2, True), outcome.err
    assert sorted(path.name for path in other.parent.iterdir()) == ["a.png.json"]
    options = ("upscale", tmp_path / "in", "-o", other.parent, "--save-prompts", "--profile", "fast", "--overwrite")
    assert seesr(*options).code == 0
    assert "tags" in other.read_text()
    assert seesr(*options[:-1]).code == 0  # ours by now


def test_what_is_ours(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.txt"
    with recorded(tmp_path):
        write_text(file, "one")
    check_files([], [file])
    shutil.copytree(tmp_path, copy := tmp_path.parent / "copy")  # elsewhere, with times of its own
    os.utime(copy / "deep" / "a.txt", (5, 5))
    check_files([], [copy / "deep" / "a.txt"])
    file.write_text("two")
    with pytest.raises(SeesrError, match="changed since"):
        check_files([], [file])
    check_files([], [file], overwrite=True)
    with pytest.raises(SeesrError, match="--overwrite replaces it"), recorded(tmp_path):
        write_text(file, "three")  # it came after the check
    assert file.read_text() == "two"
    (copy / NAME).write_bytes(b"no database")
    with pytest.raises(SeesrError, match="not written by this program"):
        check_files([], [copy / "deep" / "a.txt"])


def test_parts_of_killed_processes_go(tmp_path: Path) -> None:
    old, new, other = (
        tmp_path / name for name in (f".seesr-{uuid.uuid4().hex}.part", f".seesr-{'0' * 32}.part", "x.part")
    )
    for path in (old, new, other):
        path.touch()
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago)), os.utime(other, (hours_ago, hours_ago))
    remove_parts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([new, other])


def test_data_are_escaped_for_where_they_go() -> None:
    assert shown("a\x1b[2Jb\r\nc\u202etxt\udce9 é→\u2028") == "a\\x1b[2Jb\\r\\nc\\u202etxt\\xe9 é→\\u2028"
    assert [cell(text) for text in ("=1+1", "@x", "-x", "-1.5", "+2e-3", "a=1")] == [
        *("'=1+1", "'@x", "'-x", "-1.5", "+2e-3", "a=1")
    ]
    assert csv_text([{"image": "=HYPERLINK(1)", "psnr": -1.5}]) == "image,psnr\n'=HYPERLINK(1),-1.5\n"
