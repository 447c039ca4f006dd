"""The command itself: what it imports, what it refuses before any work, and results in the names asked for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conftest import Outcome
from seesr.apps.jobs import restore


def test_restoring_without_denoising_imports_neither_diffusers_nor_transformers(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "a.png")
    program = (
        "import sys; from seesr.apps.cli import main\n"
        f"sys.argv = ['seesr', 'upscale', {str(tmp_path / 'a.png')!r}, '-o', {str(tmp_path / 'out.png')!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print({'diffusers', 'transformers', 'accelerate', 'torch._dynamo'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
    assert Image.open(tmp_path / "out.png").size == (32, 32)


def test_help_imports_no_torch() -> None:
    program = "import sys; from seesr.apps import cli; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_wrong_options_are_known_before_the_model_is_loaded(
    seesr: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (50, 40), "teal").save(photo)

    def load(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("seesr.loading.load_restorer", load)
    for options, words in (
        (("--scale", "nan"), "more than 0 and at most 16"),
        (("--scale", "17"), "more than 0 and at most 16"),
        (("--scale", "2", "--to", "300"), "exclude each other"),
        (("--to", "300", "--fit", "9x9"), "exclude each other"),
        (("--fit", "9"), "1920x1080"),
        (("--quality", "0"), "quality"),
        (("--seed", str(2**63)), "seed"),
        (("--max-pixels", "0"), "pixels"),
        (("--suffix", "x" * 300), "too long"),
    ):
        out = tmp_path / "results" if "--suffix" in options else tmp_path / "out.png"
        outcome = seesr("upscale", photo, "-o", out, *options)
        assert outcome.code == 2, options
        assert words in outcome.err.replace("\n", " "), outcome.err
    outcome = seesr("upscale", "n" * 5000, "-o", tmp_path / "out.png")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == [photo]


def test_a_result_too_large_for_memory_is_refused_before_work(
    seesr: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "a.png")
    monkeypatch.setattr("seesr.photos.limits.free_memory", lambda: 50 * 40 * 16 + 100)
    outcome = seesr("upscale", tmp_path / "a.png", "-o", tmp_path / "out.png")
    assert outcome.code == 2
    assert "a result of 200 x 160 pixels needs" in outcome.err
    assert not (tmp_path / "out.png").exists()


def test_a_narrow_photo_worked_at_a_large_size_is_refused_before_work(
    seesr: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (1, 2000), "teal").save(tmp_path / "a.png")
    monkeypatch.setattr("seesr.photos.limits.free_memory", lambda: 2**30)
    outcome = seesr("upscale", tmp_path / "a.png", "-o", tmp_path / "out.png", "--process-size", 512)
    assert outcome.code == 2
    assert "a result of 4 x 8000 pixels, worked at 512 x 1024000, needs 2.4 GiB" in outcome.err
    assert not (tmp_path / "out.png").exists()


def test_a_format_that_cannot_be_written_is_no_folders_name(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "teal").save(tmp_path / "a.png")
    outcome = seesr("upscale", tmp_path / "a.png", "-o", tmp_path / "out.heic")
    assert outcome.code == 2
    assert "cannot write .heic files; use" in outcome.err


def test_an_unforeseen_error_does_not_stop_a_folder(
    seesr: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "teal").save(tmp_path / name)
    original = restore.finish_photo
    calls: list[int] = []

    def finish(*arguments: object) -> Image.Image:
        calls.append(1)
        if len(calls) == 1:
            raise ArithmeticError("unforeseen")
        return original(*arguments)

    monkeypatch.setattr(restore, "finish_photo", finish)
    outcome = seesr("upscale", tmp_path, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "a.png: ArithmeticError: unforeseen" in outcome.err.replace("\n", " ")
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["b.png"]
