"""Evaluation of folders: pairing, resuming, honest gaps, intervals and tests by value, errors that name the file."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ttest_1samp

from seesr.errors import SeesrError
from seesr.evaluation import provenance
from seesr.evaluation.benchmark import Evaluation, evaluate_folder, paired_difference
from seesr.metrics.intervals import bootstrap_mean
from seesr.metrics.psnr_ssim import psnr
from seesr.metrics.registry import METRICS


def save(path: Path, level: int, size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three flat pairs that differ by 10, 20 and 40 grey levels."""
    restored, reference = tmp_path / "out", tmp_path / "hr"
    for name, offset in (("a", 10), ("b", 20), ("c", 40)):
        save(restored / f"{name}.png", 100 + offset)
        save(reference / f"{name}.bmp", 100)
    return restored, reference


def expected_psnr(offset: float) -> float:
    return float(20 * np.log10(255 / (offset * 219 / 255)))


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces PSNR in the registry by one that counts."""
    calls: list[int] = []

    def counted(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return psnr(x, y)

    monkeypatch.setitem(METRICS, "PSNR", dataclasses.replace(METRICS["PSNR"], build=lambda device: counted))
    return calls


@pytest.fixture(autouse=True)
def fresh_hashes() -> Iterator[None]:
    yield
    provenance.code_hash.cache_clear()


def change_code(monkeypatch: pytest.MonkeyPatch, added: dict[str, str]) -> None:
    """Makes modules read as if these lines stood at their ends."""

    def source(module: str) -> str:
        return provenance._file(module).read_text() + "\n" + added.get(module, "")

    monkeypatch.setattr(provenance, "_source", source)
    provenance.code_hash.cache_clear()


def test_rows_pair_by_name(folders: tuple[Path, Path]) -> None:
    restored, _ = folders
    evaluation = evaluate_folder(*folders, metrics=["psnr"])
    assert [row["image"] for row in evaluation.rows] == ["a", "b", "c"]
    assert [row["PSNR"] for row in evaluation.rows] == pytest.approx([expected_psnr(d) for d in (10, 20, 40)])

    blind = evaluate_folder(restored, None, metrics=["PSNR", "SSIM"])
    assert blind.rows[0] == {"image": "a"}
    assert set(blind.unavailable) == {"PSNR", "SSIM"}
    assert not blind.summary


def test_a_second_run_computes_only_what_changed(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, cache = count_calls(monkeypatch), tmp_path / "scores.jsonl"
    first = evaluate_folder(*folders, metrics=["PSNR"], cache=cache)
    assert len(calls) == 3
    assert evaluate_folder(*folders, metrics=["PSNR"], cache=cache).rows == first.rows
    assert len(calls) == 3

    save(folders[0] / "b.png", 105)
    cache.write_text(cache.read_text()[:-20])  # as if cut off while writing c
    second = evaluate_folder(*folders, metrics=["PSNR", "SSIM"], cache=cache)
    assert len(calls) == 5
    assert [row["PSNR"] for row in second.rows] == pytest.approx([expected_psnr(d) for d in (10, 5, 40)])
    evaluate_folder(*folders, metrics=["SSIM", "PSNR"], cache=cache)
    assert len(calls) == 5


def test_scores_of_changed_code_are_not_taken_from_the_cache(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, cache = count_calls(monkeypatch), tmp_path / "scores.jsonl"
    change_code(monkeypatch, {})
    evaluate_folder(*folders, metrics=["PSNR"], cache=cache)
    for comment in ("# a comment", '"""More words."""'):
        change_code(monkeypatch, {"seesr.metrics.psnr_ssim": comment})
        evaluate_folder(*folders, metrics=["PSNR"], cache=cache)
    change_code(monkeypatch, {"seesr.metrics.niqe": "value = 1"})  # another metric's
    evaluate_folder(*folders, metrics=["PSNR"], cache=cache)
    assert len(calls) == 3
    change_code(monkeypatch, {"seesr.metrics.psnr_ssim": "value = 1"})
    evaluate_folder(*folders, metrics=["PSNR"], cache=cache)
    assert len(calls) == 6
    change_code(monkeypatch, {"seesr.photos.pictures": "value = 1"})  # which makes tensors of pictures
    evaluate_folder(*folders, metrics=["PSNR"], cache=cache)
    assert len(calls) == 9
    monkeypatch.setattr(provenance, "version", lambda name: "another")
    provenance.code_hash.cache_clear()
    evaluate_folder(*folders, metrics=["PSNR"], cache=cache)
    assert len(calls) == 12


def test_errors_name_the_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    restored, reference = folders

    def fails(match: str, **options) -> None:
        with pytest.raises(SeesrError, match=match):
            evaluate_folder(restored, reference, **({"metrics": ["PSNR"]} | options))

    fails("no metric 'psrn'", metrics=["psrn"])
    (tmp_path / "bad.jsonl").write_text("[1]")
    fails(r"bad\.jsonl: not a file of scores", cache=tmp_path / "bad.jsonl")

    save(restored / "b.png", 120, size=(24, 8))
    fails(r"b\.png is 24x8, its reference .*b\.bmp is 24x16")
    save(reference / "b.bmp", 120, size=(24, 8))
    fails(r"b\.png: 24x8 pixels are too few for SSIM", metrics=["SSIM"])  # smaller than the window

    content = (restored / "c.png").read_bytes()
    (restored / "c.png").write_bytes(content[: len(content) // 2])
    fails(r"c\.png.*damaged")
    (restored / "c.png").unlink()
    fails(r"c\.bmp: no picture of that name in .*out")
    save(restored / "c.png", 120)
    save(restored / "d.png", 120)
    fails(r"d\.png: no picture of that name in .*hr")
    save(restored / "a.bmp", 120)
    fails(r"a\.png: a\.bmp has the same name")
    with pytest.raises(SeesrError, match="nowhere: no such folder"):
        evaluate_folder(tmp_path / "nowhere", metrics=["NIQE"])


def test_bootstrap_interval_is_that_of_the_normal_mean() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    mean = bootstrap_mean(values.tolist())
    half_width = 1.96 * values.std() / 20
    assert mean.mean == pytest.approx(values.mean())
    assert (mean.low, mean.high) == pytest.approx((values.mean() - half_width, values.mean() + half_width), abs=0.02)
    assert mean == bootstrap_mean(values.tolist())


def scored(values: list[float]) -> Evaluation:
    return Evaluation([{"image": str(i), "PSNR": value} for i, value in enumerate(values)], {}, {})


def test_paired_difference_by_value() -> None:
    base = [20.0, 25.0, 30.0, 35.0]
    better = paired_difference(scored([value + 0.3 for value in base]), scored(base), "PSNR")
    assert (better.mean, better.low, better.high) == pytest.approx((0.3, 0.3, 0.3))
    assert better.p_value == 2 / 2**4  # two of the sixteen sign patterns are as extreme
    assert paired_difference(scored(base), scored(base), "PSNR").p_value == 1
    assert paired_difference(scored(base * 5), scored(base * 5), "PSNR").p_value == 1
    noise = np.random.default_rng(3).normal(0.25, 1, 100)  # many, normal: the p of the t test, drawn at random
    many = paired_difference(scored(noise.tolist()), scored([0.0] * 100), "PSNR")
    assert many.p_value == pytest.approx(ttest_1samp(noise, 0).pvalue, abs=0.004)
    assert 0.005 < many.p_value < 0.1
    with pytest.raises(SeesrError, match="3 was scored for only one"):
        paired_difference(scored(base), scored(base[:3]), "PSNR")
    with pytest.raises(SeesrError, match="LPIPS has no figure"):
        paired_difference(scored(base), scored(base), "LPIPS")
