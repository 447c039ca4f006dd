"""`seesr cluster`: the files of `seesr upscale`, from any place to any place, begun and gone on with."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for library in ("ray.data", "pyarrow", "s3fs", "moto"):
    pytest.importorskip(library)

import pyarrow as pa
from cluster_cases import Death, InPlaceOfRay, download, rows_of, storage, upload
from conftest import Outcome
from folder_cases import QuickRestorer, contents, photo
from PIL import Image

from seesr.apps.cluster.manifest import FOLDER, Manifest, table_of, write_table
from seesr.apps.cluster.places import Place
from seesr.apps.cluster.plan import Wishes, find_work, list_photos
from seesr.apps.jobs.database import Recipe

Seesr = Callable[..., Outcome]


@pytest.fixture
def restorer(monkeypatch: pytest.MonkeyPatch) -> QuickRestorer:
    made = QuickRestorer()
    monkeypatch.setattr("seesr.loading.load_restorer", lambda *_, **__: made)
    return made


@pytest.fixture
def ray(restorer: QuickRestorer, monkeypatch: pytest.MonkeyPatch) -> InPlaceOfRay:
    return InPlaceOfRay(restorer, monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Names that meet, an alpha channel, a file that is no picture, one that cannot be read, a hidden one."""
    folder = tmp_path / "in"
    for number, name in enumerate(("a.png", "b/a.jpg", "b/a.tga", "b/c d/é #1.webp", "b/e.png", "f.png", ".x/y.png")):
        photo(folder / name, (14 + number, 9), seed=number)
    Image.new("RGBA", (8, 8), (9, 90, 200, 70)).save(folder / "b" / "clear.png")
    (folder / "bad.png").write_bytes(b"\x89PNG")
    (folder / "b" / "g.psd").write_bytes(b"8BPS")
    return folder


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with storage(monkeypatch.setenv) as address:
        yield address


EVERYTHING = ("--compare", "--save-prompts", "--write-tags", "--suffix", "_x", "--seed", 3)


@pytest.mark.parametrize("options", [(), EVERYTHING], ids=["plain", "everything"])
def test_the_same_files_as_upscale(
    options: tuple[object, ...], photos: Path, s3: str, ray: InPlaceOfRay, tmp_path: Path, seesr: Seesr
) -> None:
    assert seesr("upscale", photos, "-o", tmp_path / "one", *options).code == 2  # bad.png
    upload(photos, "s3://photos/in")
    places = [(photos, tmp_path / "here"), ("s3://photos/in", "s3://photos/out"), (photos, "s3://photos/up")]
    for source, target in places:
        outcome = seesr("cluster", source, "-o", target, *options)
        assert outcome.code == 2
        assert "6 done, 1 failed" in outcome.err.replace("\n", " ")
        assert f"{source}/bad.png: the picture is damaged" in outcome.err.replace("\n", "")
        folder = target if isinstance(target, Path) else download(target, tmp_path / target.rpartition("/")[2])
        rows = rows_of(folder)
        made = contents(folder)
        for name in [name for name in made if name.startswith(FOLDER)]:
            del made[name]
        assert made == contents(tmp_path / "one")
        assert [row["source"] for row in rows] == sorted(
            ["a.png", "b/a.jpg", "b/a.tga", "b/c d/é #1.webp", "b/clear.png", "b/e.png", "bad.png", "f.png"][:8]
        )
        for row in rows:
            if row["error"] is None:
                assert row["size"] == len(made[row["result"]])
                assert row["tags"] == ["cat"]
                with Image.open(folder / row["result"]) as result:
                    assert result.size == (row["width"], row["height"])
            else:
                assert row["source"] == "bad.png"
