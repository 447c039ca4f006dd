"""Folder jobs: what is done, skipped, left alone and refused."""

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_cases import MARKUP, QuickRestorer, contents, markup_names, own_file, photo
from PIL import Image

from conftest import Outcome
from seesr.apps.jobs.database import NAME
from seesr.restoration.sizes import PURPOSES

Run = Callable[..., Outcome]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickRestorer:
    """The command's model, for the time of a test."""
    restorer = QuickRestorer()
    monkeypatch.setattr("seesr.loading.load_restorer", lambda *_, **__: restorer)
    return restorer


def rows(folder: Path) -> dict[str, tuple[str, str | None]]:
    """What the manifest says: name → state, reason."""
    with sqlite3.connect(folder / NAME) as db:
        return {name: (state, reason) for name, state, reason in db.execute("SELECT name, state, reason FROM files")}


def test_the_same_command_again_goes_on(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    for i in range(4):
        photo(tmp_path / "in" / f"{i}.png", seed=i)
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    command = ("upscale", tmp_path / "in", "-o", tmp_path / "out")
    outcome = seesr(*command)
    assert outcome.code == 2
    assert outcome.err.count("bad.png") == 1
    assert "4 done, 1 failed" in outcome.err
    assert rows(tmp_path / "out")["0.png"] == ("done", None)
    before = contents(tmp_path / "out")
    photo(tmp_path / "in" / "bad.png", seed=9)
    photo(tmp_path / "in" / "1.png", (13, 9), seed=7)  # another photo of that name
    os.utime(tmp_path / "in" / "2.png", (1, 1))  # copied: the content is the same
    (tmp_path / "out" / "3.png").unlink()
    quick.count = 0
    outcome = seesr(*command)
    assert outcome.code == 0
    assert "3 done, 2 skipped" in outcome.err
    assert quick.count == 3
    after = contents(tmp_path / "out")
    assert after["1.png"] != before["1.png"]
    assert "all 5 photos are done already" in seesr(*command).err
    assert seesr(*command, "--overwrite").code == 0
    assert quick.count == 8


def test_other_settings_are_said_not_mixed(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png"), photo(tmp_path / "in" / "b.png")
    command = ("upscale", tmp_path / "in", "-o", tmp_path / "out")
    assert seesr(*command, "--scale", 2).code == 0
    before = contents(tmp_path / "out")
    outcome = seesr(*command, "--scale", 3)
    assert outcome.code == 2
    assert "scale: 2.0, now 3.0" in outcome.err
    assert contents(tmp_path / "out") == before
    photo(tmp_path / "more" / "c.png")  # others may have others
    assert seesr("upscale", tmp_path / "more", "-o", tmp_path / "out", "--scale", 3).code == 0
    assert seesr(*command, "--scale", 3, "--overwrite").code == 0
    assert Image.open(tmp_path / "out" / "a.png").width == 36


def test_an_edited_result_is_its_owners(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png"), photo(tmp_path / "in" / "b.png")
    command = ("upscale", tmp_path / "in", "-o", tmp_path / "out")
    assert seesr(*command).code == 0
    Image.new("RGB", (5, 5), "red").save(tmp_path / "out" / "a.png")
    assert seesr(*command).code == 0  # done, whatever became of it
    photo(tmp_path / "in" / "a.png", seed=3)
    outcome = seesr(*command)
    assert outcome.code == 2
    assert "was changed since it was written" in outcome.err
    assert Image.open(tmp_path / "out" / "a.png").size == (5, 5)


def test_own_files_are_named_and_kept(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    folder = own_file(tmp_path / "own")
    before = contents(folder)
    outcome = seesr("upscale", folder, "-o", folder, "--suffix", "_4x")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "p_4x.png" in outcome.err
    photo(tmp_path / "in" / "p_4x.png", seed=5)
    outcome = seesr("upscale", tmp_path / "in", "-o", folder)
    assert outcome.code == 2
    assert "p_4x.png: is there already and not written by this program" in outcome.err
    assert contents(folder) == before
    assert seesr("upscale", tmp_path / "in", "-o", folder, "--overwrite").code == 0
    assert contents(folder) != before


@pytest.mark.parametrize("out", ["out", "."])
def test_results_below_the_input_are_no_photos(seesr: Run, quick: QuickRestorer, tmp_path: Path, out: str) -> None:
    folder = tmp_path / "below"
    photo(folder / "p.png"), photo(folder / "deep" / "q.jpg")
    command = ("upscale", folder, "-o", folder / out, "--suffix", "_x", "--compare")
    assert seesr(*command).code == 0
    first = contents(folder)
    assert len(first) == 6
    assert seesr(*command).code == 0
    assert contents(folder) == first
    assert seesr("upscale", folder, "-o", tmp_path / "elsewhere").code == 0
    assert sorted(contents(tmp_path / "elsewhere")) == ["deep/q.jpg", "p.png"]


def test_a_single_result_is_known_too(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    assert seesr("upscale", source, "-o", tmp_path / "b.png").code == 0
    assert "is done already" in seesr("upscale", source, "-o", tmp_path / "b.png").err
    assert seesr("upscale", source, "-o", tmp_path / "b.png", "--scale", 2).code == 0  # ours: done anew
    assert Image.open(tmp_path / "b.png").width == 24
    assert seesr("upscale", tmp_path, "-o", tmp_path / "out").code == 0
    assert list(contents(tmp_path / "out")) == ["a.png"]
    photo(tmp_path / "b.png", seed=4)
    assert "there already and changed" in seesr("upscale", source, "-o", tmp_path / "b.png").err


def test_a_side_by_side_takes_no_results_name(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "x.png"), photo(tmp_path / "in" / "x-compare.png", (10, 10))
    assert seesr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--compare").code == 0
    out = contents(tmp_path / "out")
    assert sorted(out) == ["x-compare-2.png", "x-compare-compare.png", "x-compare.png", "x.png"]
    assert Image.open(tmp_path / "out" / "x-compare.png").size == (40, 40)
    source = photo(tmp_path / "b" / "x-compare.png")
    before = source.read_bytes()
    outcome = seesr("upscale", source, "-o", tmp_path / "b" / "x.png", "--compare")
    assert outcome.code == 2
    assert "would replace the photo itself" in outcome.err
    assert source.read_bytes() == before


def test_names_are_printed_as_they_are(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    folder = markup_names(tmp_path / "names")
    (folder / "red\x1b[31m\nline.png").write_bytes(b"")
    photo(folder / os.fsdecode(b"latin-\xe9.png"))
    outcome = seesr("upscale", folder, "-o", tmp_path / "out")
    assert outcome.code == 2
    for name in MARKUP:
        assert f"{folder / name} →" in outcome.err
        assert (tmp_path / "out" / name).is_file()
    assert "\x1b" not in outcome.err
    assert outcome.err.count("red\\x1b[31m\\nline.png") == 1
    assert "latin-\\xe9.png" in outcome.err
    assert "5 done, 1 failed" in outcome.err


def test_a_name_too_long_is_one_files_failure(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    photo(tmp_path / "in" / f"{'n' * 250}.png"), photo(tmp_path / "in" / "a.png")
    outcome = seesr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--suffix", "_restored")
    assert outcome.code == 2
    assert "too long" in outcome.err
    assert list(contents(tmp_path / "out")) == ["a_restored.png"]


def test_every_failure_names_its_file_and_pictures_left_out_are_told(
    seesr: Run, quick: QuickRestorer, tmp_path: Path
) -> None:
    photo(tmp_path / "in" / "large.png", (60, 40)), photo(tmp_path / "in" / "tiny.png", (2, 2))
    (tmp_path / "in" / "scan.psd").write_bytes(b"")
    outcome = seesr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--to", 90)
    assert outcome.code == 2
    assert re.search(r"failed: .*tiny\.png: --to 90 would make 2 x 2 pixels 45 times as large", outcome.err)
    assert "left out, not read: 1 .psd" in outcome.err


@pytest.mark.parametrize("name", ["out.jfif", "out.tga", "x.png"])
def test_a_pictures_suffix_is_no_folders_name(seesr: Run, quick: QuickRestorer, tmp_path: Path, name: str) -> None:
    sources = photo(tmp_path / "a.png"), photo(tmp_path / "b.png")
    outcome = seesr("upscale", *sources[: 2 if name == "x.png" else 1], "-o", tmp_path / name)
    if outcome.code == 0:  # formats come to be written
        assert (tmp_path / name).is_file()
        return
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--scale", 1), (60, 40)),
        (("--scale", 0.5), (30, 20)),
        (("--to", 45), (45, 30)),
        (("--fit", "40x20"), (30, 20)),
        (("--scale", 2, "--no-enlarge"), (60, 40)),
        (("--scale", 2, "--only-smaller"), (120, 80)),
        (("--to", 60, "--only-smaller"), None),
    ],
)
def test_any_size(
    seesr: Run, quick: QuickRestorer, tmp_path: Path, options: tuple[object, ...], size: tuple[int, int] | None
) -> None:
    source = photo(tmp_path / "a.png", (60, 40))
    assert seesr("upscale", source, "-o", tmp_path / "b.png", *options).code == 0
    assert (Image.open(tmp_path / "b.png").size if size else (tmp_path / "b.png").exists()) == (size or False)


def test_sizes_by_name_stand_or_lie_as_the_photo_does(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png", (300, 400))
    assert seesr("upscale", source, "-o", tmp_path / "b.png", "--for", "hd").code == 0
    assert Image.open(tmp_path / "b.png").size == (1080, 1440)
    outcome = seesr("upscale", source, "-o", tmp_path / "c.png", "--for", "billboard")
    assert all(name in outcome.err for name in PURPOSES)


def test_the_embedded_model_reduces(seesr: Run, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png", (48, 36))
    assert seesr("upscale", source, "-o", tmp_path / "b.png", "--scale", 0.25).code == 0
    assert Image.open(tmp_path / "b.png").size == (12, 9)


def test_dry_run_writes_nothing(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png"), photo(tmp_path / "in" / "b.png")
    outcome = seesr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--dry-run")
    assert outcome.code == 0
    assert "2 to do: about" in outcome.err
    assert not (tmp_path / "out").exists()
    assert quick.count == 0
    seesr("upscale", tmp_path / "in" / "a.png", "-o", tmp_path / "out")
    assert "1 to do, 1 done before" in seesr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--dry-run").err


def test_dry_run_tells_of_regions_that_do_not_fit(seesr: Run, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "small.png", (20, 30)), photo(tmp_path / "in" / "large.png", (60, 30))
    regions = ("--region", "0,0,50,20: fur", "--profile", "diffusion")
    outcome = seesr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--dry-run", *regions)
    assert outcome.code == 0
    assert "small.png: --region: '0,0,50,20: fur' reaches beyond the photo, 20 x 30 pixels" in outcome.err
    assert "large.png: --region" not in outcome.err
    assert "2 to do: about" in outcome.err


def test_the_same_error_again_and_again_ends_the_job(
    seesr: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(count: int) -> None:
        raise RuntimeError("CUDA out of memory")

    restorer = QuickRestorer(on_photo=fail)
    monkeypatch.setattr("seesr.loading.load_restorer", lambda *_, **__: restorer)
    for i in range(9):
        photo(tmp_path / "in" / f"{i}.png")
    outcome = seesr("upscale", tmp_path / "in", "-o", tmp_path / "out")
    assert outcome.code == 2
    assert restorer.count == 3
    assert "stopped: out of memory" in outcome.err
    assert "0 of 9 photos are done, and the same command goes on from here" in outcome.err


def test_interrupted(seesr: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(count: int) -> None:
        if count == 3:
            raise KeyboardInterrupt

    restorer = QuickRestorer(on_photo=interrupt)
    monkeypatch.setattr("seesr.loading.load_restorer", lambda *_, **__: restorer)
    for i in range(5):
        photo(tmp_path / "in" / f"{i}.png")
    outcome = seesr("upscale", tmp_path / "in", "-o", tmp_path / "out")
    assert outcome.code == 130
    assert outcome.err.endswith("stopped: 2 of 5 photos are done; the same command goes on from here\n")
    assert "3 done, 2 skipped" in seesr("upscale", tmp_path / "in", "-o", tmp_path / "out").err


def test_tags_become_keywords(seesr: Run, quick: QuickRestorer, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    assert seesr("upscale", source, "-o", tmp_path / "b.png", "--write-tags").code == 0
    with Image.open(tmp_path / "b.png") as image:
        xmp = image.info["xmp"]
    assert b"<dc:subject><rdf:Bag><rdf:li>cat</rdf:li></rdf:Bag></dc:subject>" in xmp


def test_tags_of_a_folder_go_on_after_a_damaged_file(seesr: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    photo(tmp_path / "[b].png", (40, 30))
    outcome = seesr("tags", tmp_path)
    assert outcome.code == 2
    assert f"{tmp_path / '[b].png'}: " in outcome.out
    assert "a.png: not a picture" in outcome.err
