"""Published figures: found by a test set's name, compared with one's own, and set in words."""

from pathlib import Path

import pytest

from seesr.evaluation.published import Reproduction, published_as, published_for, reproductions
from seesr.evaluation.report import p_text, signed


def test_published_figures_go_with_the_test_sets_name() -> None:
    rows = {name: published_for(Path(name)) for name in ("realsr", "StableSR/DrealSRVal_crop128", "DIV2K_V2_val")}
    found = [row for rows_of_set in rows.values() for row in rows_of_set if row.method == "SeeSR"]
    assert [(row.testset, row.scores["LPIPS"], row.source.split()[0]) for row in found] == [
        ("RealSR", 0.3009, "OSEDiff"),
        ("DRealSR", 0.3189, "OSEDiff"),  # which ran it anew
        ("DRealSR", 0.3299, "SeeSR"),
        ("DIV2K-Val", 0.3194, "OSEDiff"),
    ]
    assert all((row.steps, row.pictures) == (50, 93) for row in found[1:3])
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
    found = reproductions(Path("drealsr"), 93, "sd2", {"PSNR": 27.92, "LPIPS": 0.32})  # of two rows the nearer one
    assert found["PSNR"] == Reproduction(27.90, pytest.approx(0.02), True)
    assert found["LPIPS"] == Reproduction(0.3189, pytest.approx(0.0011), True)
    assert not reproductions(Path("realsr"), 10, "realesrgan-x4plus", means)  # other pictures, other means
    assert not reproductions(Path("photos"), 100, "realesrgan-x4plus", means)


def test_figures_in_words() -> None:
    assert [p_text(value) for value in (0.0001, 0.0256, 0.9996)] == ["< .001", "= .026", "= 1"]
    assert [signed(value, 2) for value in (0.3, -0.3, 0.001, -0.001)] == ["+0.30", "−0.30", "0.00", "0.00"]
