"""Published figures: found by a test set's name, compared with one's own, and set in words."""

from pathlib import Path

import pytest

from seesr.evaluation.published import Reproduction, published_as, published_for, reproductions
from seesr.evaluation.report import p_text, signed


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
