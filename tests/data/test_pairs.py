"""Pairs by the names that the field's sets have."""

from pathlib import Path

import pytest
from PIL import Image

from seesr import SeesrError
from seesr.data.pairs import pair_images


def folder(place: Path, *names: str) -> Path:
    place.mkdir()
    for name in names:
        Image.new("RGB", (4, 4)).save(place / name)
    return place


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("0801x4.png", "0801.png"),
        ("Canon_001_LR4.png", "Canon_001_HR.jpg"),
        ("a_lq.png", "a_gt.png"),
        ("b.jpg", "b.png"),
    ],
)
def test_names_that_belong_together(tmp_path: Path, low: str, high: str) -> None:
    (pair,) = pair_images(folder(tmp_path / "lr", low), folder(tmp_path / "hr", high))
    assert (pair.name, pair.restored.name) == (Path(low).stem, low)
    assert pair.reference == tmp_path / "hr" / high


def test_a_namesake_goes_before_an_ending(tmp_path: Path) -> None:
    pairs = pair_images(folder(tmp_path / "lr", "a.png", "ax2.png"), folder(tmp_path / "hr", "a.png", "ax2.png"))
    assert [pair.reference.name for pair in pairs if pair.reference] == ["a.png", "ax2.png"]


def test_what_does_not_belong_together_is_named(tmp_path: Path) -> None:
    low = folder(tmp_path / "lr", "0801x4.png", "0802x4.png")
    with pytest.raises(SeesrError, match=r"0802x4\.png: no picture of that name"):
        pair_images(low, folder(tmp_path / "hr", "0801.png"))
    with pytest.raises(SeesrError, match="belongs to the same picture as"):
        pair_images(folder(tmp_path / "two", "0801x2.png", "0801x4.png"), folder(tmp_path / "one", "0801.png"))
