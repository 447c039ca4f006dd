"""`seesr cluster`: the files of `seesr upscale`, from any place to any place, begun and gone on with."""

# ruff: noqa: E402

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

for library in ("ray.data", "pyarrow", "s3fs", "moto"):
    pytest.importorskip(library)

import pyarrow as pa
from cluster_cases import Death, InPlaceOfRay, download, rows_of, storage, upload
from folder_cases import QuickRestorer, contents, photo
from PIL import Image

from conftest import Outcome
from seesr.apps.cluster.manifest import FOLDER, Manifest, table_of, write_table
from seesr.apps.cluster.places import Listed, Place
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
        assert "7 done, 1 failed" in outcome.err.replace("\n", " ")
        assert f"{source}/bad.png: not a picture" in outcome.err.replace("\n", "")
        folder = target if isinstance(target, Path) else download(target, tmp_path / target.rpartition("/")[2])
        rows = rows_of(folder)
        made = contents(folder)
        for name in [name for name in made if name.startswith(FOLDER)]:
            del made[name]
        assert made == contents(tmp_path / "one")
        names = ["a.png", "b/a.jpg", "b/a.tga", "b/c d/é #1.webp", "b/clear.png", "b/e.png", "bad.png", "f.png"]
        assert [row["source"] for row in rows] == names
        for row in rows:
            if row["error"] is None:
                assert row["size"] == len(made[row["result"]])
                assert row["tags"] == ["cat"]
                with Image.open(folder / row["result"]) as result:
                    assert result.size == (row["width"], row["height"])
            else:
                assert row["source"] == "bad.png"


def test_the_same_command_goes_on(photos: Path, ray: InPlaceOfRay, tmp_path: Path, seesr: Seesr) -> None:
    command = ("cluster", photos, "-o", photos / "out", "--scale", 2)  # results below the photos are no photos
    assert seesr(*command).code == 2
    assert ray.restorer.count == 7
    assert "7 done before" in seesr(*command, "--dry-run").err
    shutil.copy(photos / "a.png", photos / "bad.png")
    photo(photos / "b" / "e.png", (20, 20), seed=9)
    (photos / "out" / "f.png").unlink()
    before = contents(photos / "out")
    outcome = seesr(*command)
    assert outcome.code == 0
    assert "3 done, 5 skipped" in outcome.err
    assert ray.restorer.count == 10
    after = contents(photos / "out")
    assert Image.open(photos / "out" / "b" / "e.png").size == (40, 40)
    changed = {name for name, content in after.items() if before.get(name) != content and not name.startswith(FOLDER)}
    assert changed == {"b/e.png", "bad.png", "f.png"}
    assert [row["error"] for row in rows_of(photos / "out")] == [None] * 8
    assert "all 8 photos are done already" in seesr(*command).err
    other = seesr("cluster", photos, "-o", photos / "out", "--scale", 3)
    assert (other.code, "scale: 2.0, now 3.0" in other.err.replace("\n", " ")) == (2, True)
    assert contents(photos / "out") == after
    assert ray.restorer.count == 10
    photo(photos / "b" / "e.png", (21, 21), seed=9)
    photo(photos / "out" / "b" / "e.png", (3, 3))  # somebody's own by now
    outcome = seesr(*command)
    assert (outcome.code, "changed since" in outcome.err) == (2, True)
    assert seesr("cluster", photos, "-o", photos / "out", "--scale", 3, "--overwrite").code == 0
    assert ray.restorer.count == 18
    assert Image.open(photos / "out" / "b" / "e.png").size == (63, 63)


def test_files_of_others_stay(photos: Path, ray: InPlaceOfRay, tmp_path: Path, seesr: Seesr) -> None:
    own = photo(tmp_path / "out" / "b" / "e.png")
    before = contents(tmp_path / "out")
    outcome = seesr("cluster", photos, "-o", tmp_path / "out")
    assert (outcome.code, str(own) in outcome.err.replace("\n", "")) == (2, True)
    assert contents(tmp_path / "out") == before
    for target in (photos, photos / ".." / "in", tmp_path):
        assert "holds the photos themselves" in seesr("cluster", photos, "-o", target).err.replace("\n", " ")
    assert ray.restorer.count == 0


@pytest.mark.parametrize("puts", range(0, 23, 3))
def test_killed_at_any_moment_nothing_is_lost_or_done_twice(
    puts: int, photos: Path, ray: InPlaceOfRay, tmp_path: Path, seesr: Seesr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ends after so many files were put: pictures, parts of the manifest, joined parts."""
    (photos / "bad.png").unlink()
    put, count = Place.put, 0

    def counted(self: Place, file: Path, key: str) -> None:
        nonlocal count
        if count >= puts:
            raise Death
        count += 1
        put(self, file, key)

    command = ("cluster", photos, "-o", tmp_path / "out", "--batch", 2, "--compare")
    with monkeypatch.context() as patch:
        patch.setattr(Place, "put", counted)
        with pytest.raises(Death):
            seesr(*command)
    ray.process = None
    whole = {path for path in (tmp_path / "out").rglob("*.png") if "compare" not in path.name}
    stamps = {path: path.stat().st_mtime_ns for path in whole}
    ray.restorer.count = 0
    assert seesr(*command).code == 0
    rows = rows_of(tmp_path / "out")
    assert [row["source"] for row in rows] == sorted({row["source"] for row in rows})
    assert len(rows) == 7
    assert len([name for name in contents(tmp_path / "out") if not name.startswith(FOLDER)]) == 14
    assert {path: path.stat().st_mtime_ns for path in whole} == stamps
    assert ray.restorer.count <= 7 - len(whole)
    assert not list((tmp_path / "out" / FOLDER).glob("part-*"))


def test_a_photo_that_kills_every_process_is_named_and_the_rest_is_done(
    photos: Path, ray: InPlaceOfRay, tmp_path: Path, seesr: Seesr, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.attempts = 5

    def restore(image: Image.Image, *_: object, **__: object) -> object:
        if image.size == (18, 9):  # b/e.png
            raise Death
        return QuickRestorer.__call__(ray.restorer, image, *_, **__)  # type: ignore[arg-type]

    ray.restorer.__class__ = type("Deadly", (QuickRestorer,), {"__call__": lambda self, *a, **k: restore(*a, **k)})
    outcome = seesr("cluster", photos, "-o", tmp_path / "out", "--batch", 9)
    assert outcome.code == 2
    errors = {row["source"]: row["error"] for row in rows_of(tmp_path / "out") if row["error"]}
    assert errors.keys() == {"bad.png", "b/e.png"}
    assert "more memory than there is" in errors["b/e.png"]
    assert not (tmp_path / "out" / "b" / "e.png").exists()
    assert len(rows_of(tmp_path / "out")) == 8


def test_an_error_that_is_the_same_for_all_ends_the_job(
    ray: InPlaceOfRay, tmp_path: Path, seesr: Seesr, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        photo(tmp_path / "in" / f"{number}.png")

    def fail(count: int) -> None:
        if count > 2:
            raise RuntimeError("CUDA error: unspecified launch failure")

    ray.restorer.on_photo = fail
    outcome = seesr("cluster", tmp_path / "in", "-o", tmp_path / "out", "--batch", 12)
    assert outcome.code == 2
    assert "unspecified launch failure" in outcome.err
    assert ray.restorer.count < 12
    ray.restorer.on_photo = lambda count: None
    assert seesr("cluster", tmp_path / "in", "-o", tmp_path / "out").code == 0
    assert [row["error"] for row in rows_of(tmp_path / "out")] == [None] * 12


def test_a_hundred_thousand_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing and filtering read names and the manifest, and no picture."""
    names = [f"{number % 97:02d}/IMG_{number:06d}.jpg" for number in range(100_000)]
    source, target = Place("s3://photos/in"), Place(str(tmp_path))
    monkeypatch.setattr(Place, "files", lambda self: iter([Listed(name, 5, "etag") for name in names]))
    recipe = Recipe({"scale": 4}, "mini 0")
    listing = list_photos(source, target, "", None, False)
    assert len(listing.plan) == 100_000
    fixed = {"size": 2, "recipe": recipe.digest, "version": "5 etag", "time": 1.0}
    write_table(target, f"{FOLDER}/rows-0.parquet", table_of({"source": n, "result": n, **fixed} for n in names[10:]))
    listed = dict.fromkeys([*names[10:], f"{FOLDER}/rows-0.parquet"], 2)
    opened: list[str] = []
    read = Place.read
    monkeypatch.setattr(Place, "read", lambda self, key, *_: opened.append(key) or read(self, key))
    jobs = find_work(listing, Manifest(target, listed), listed, recipe, Wishes())
    assert sorted(jobs["source"].to_pylist()) == sorted(names[:10])
    assert opened == [f"{FOLDER}/rows-0.parquet"]


def test_what_cannot_be_is_said_in_a_line(
    photos: Path, s3: str, restorer: QuickRestorer, tmp_path: Path, seesr: Seesr, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(words: str, *arguments: object) -> None:
        outcome = seesr("cluster", *arguments)
        assert (outcome.code, words in outcome.err, len(outcome.err.splitlines())) == (2, True, 1), outcome.err

    out = tmp_path / "out"
    says("no Ray cluster at 127.0.0.1:9", photos, "-o", out, "--address", "127.0.0.1:9")
    says("give HOST:PORT", photos, "-o", out, "--address", "nowhere")
    says("s3://none/in: no such bucket", "s3://none/in", "-o", out)
    says("s3://none: no such bucket", photos, "-o", "s3://none")
    says("s3://photos/empty: holds no photo", "s3://photos/empty", "-o", out)
    says("quack://x", "quack://x", "-o", out)
    says("is a file", photos / "a.png", "-o", out)
    says("no such file or folder", tmp_path / "missing", "-o", out)
    says("no profile", photos, "-o", out, "--profile", "best")
    upload(photos, "s3://photos/in")
    plain = {"Content-Type": "text/plain"}
    urlopen(Request(f"{s3}/moto-api/reset-auth", b"0", plain)).close()  # from now on keys need rights
    says("s3://photos/in: may not be listed", "s3://photos/in", "-o", out)
    says("s3://photos/out: may not be listed", photos, "-o", "s3://photos/out")
    assert not out.exists()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    says("pip install 'seesr[cluster]'", photos, "-o", out)


def test_parts_are_joined_as_the_run_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(str(tmp_path))
    manifest = Manifest(place, {})
    manifest.begin(Recipe({"scale": 4}, "mini 0"))
    monkeypatch.setattr("seesr.apps.cluster.manifest._MERGED", 5)
    for number in range(4):
        part = f"{FOLDER}/part-x-{number}.parquet"
        rows = table_of({"source": f"{number}-{i}", "result": f"{number}-{i}", "time": 1.0} for i in range(3))
        write_table(place, part, rows)
        manifest.add(rows.append_column("part", pa.array([part] * 3)))
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / FOLDER).glob("*.parquet"))
    assert names == ["rows", "rows"]
    assert len(rows_of(tmp_path)) == 12
    assert Manifest(place, {file.key: file.size for file in place.files()}).recipe(
        Recipe({"scale": 4}, "mini 0").digest
    ) == Recipe({"scale": 4}, "mini 0")


def test_upscale_tells_of_it_where_a_folder_takes_days(
    restorer: QuickRestorer, tmp_path: Path, seesr: Seesr, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(13):
        photo(tmp_path / "in" / f"{number:02d}.png")
    for seconds, told in ((100.0, 0), (1e5, 1)):
        monkeypatch.setattr("seesr.apps.jobs.dry_run.seconds_of", lambda *_, seconds=seconds: (1.0, seconds))
        dry = seesr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--dry-run").err
        assert dry.count("seesr cluster") == told
    assert "seesr cluster" not in seesr("upscale", tmp_path / "in", "-o", tmp_path / "out").err
    monkeypatch.setattr("seesr.apps.jobs.summary.Summary.seconds_left", lambda self: 1e5 * (self.done > 3))
    assert seesr("upscale", tmp_path / "in", "-o", tmp_path / "more").err.count("seesr cluster") == 1
