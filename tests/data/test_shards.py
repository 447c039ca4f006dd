"""Shards: packed, indexed, streamed and read over a network; what is cut, changed or damaged is told."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader
from training_photos import folder_of, picture, same, shard

from conftest import Outcome
from seesr.data import known_sets, shards
from seesr.data.photos import StreamedPhotos
from seesr.data.samples import Crops, load_photos
from seesr.errors import SeesrError

Command = Callable[..., Outcome]


def test_packed_and_streamed_photos_give_the_samples_of_the_folder(tmp_path: Path, seesr: Command) -> None:
    """Whether decoded at once or on demand, from files or shards, in this process or in two workers."""
    folder = folder_of(tmp_path / "photos", 7)
    (folder / "03.json").write_text('{"label": "x"}')
    packed = seesr("data", "pack", folder, "-o", tmp_path / "packed", "--shard-mb", 1)
    assert packed.code == 0, packed.err
    assert "7 samples of 7 photos in 1 shards" in packed.out
    whole = load_photos([str(folder)], 40)
    streamed = load_photos([str(tmp_path / "packed")], 40, memory_gb=0)
    kept = load_photos([str(folder)], 40, memory_gb=2e-5)  # room for some
    assert isinstance(streamed, StreamedPhotos)
    assert isinstance(kept, StreamedPhotos)
    assert streamed[3].info["label"] == "x"
    expected = Crops(whole, 24, seed=1)
    for photos in (streamed, kept):
        loader = DataLoader(Crops(photos, 24, seed=1), sampler=range(20), batch_size=None, num_workers=2)
        assert all(same(sample, expected[index]) for index, sample in enumerate(loader))
    assert same(Crops(kept, 24, seed=1)[9], expected[9])
    assert 0 < len(kept._kept) <= 3
    assert not streamed._kept


def test_damage_found_while_training_is_left_out_and_counted(
    tmp_path: Path, seesr: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """A picture that changed in its shard after packing; found by a worker, known to all, always replaced alike."""
    seesr("data", "pack", folder_of(tmp_path / "photos", 5), "-o", tmp_path / "packed")
    (file,) = (tmp_path / "packed").glob("*.tar")
    entry = shards.list_entries(str(file))[2]
    with file.open("r+b") as content:
        content.seek(entry.offset + entry.size // 2)
        content.write(b"\0\0\0\0")
    checked = seesr("data", "check", tmp_path / "packed")
    assert checked.code == 2
    assert "02.png (its SHA-256 is not that of the index)" in checked.out
    photos = load_photos([str(file)], 40, memory_gb=0)
    crops = Crops(photos, 24, seed=1)
    list(DataLoader(crops, sampler=range(5), batch_size=None, num_workers=2))
    assert crops.damaged == 1
    assert photos[2].name == photos[3].name
    assert "02.png" not in {Path(photo.name).name for photo in photos}
    assert "left out 1 damaged" in (load_photos([str(file)], 40) and caplog.text)


def test_an_index_tells_a_shard_that_was_cut_or_changed(tmp_path: Path, seesr: Command) -> None:
    file = shard(tmp_path / "a.tar", {"x.png": picture(0), "y.png": picture(1), "y.json": b'{"k": 1}'})
    assert "2 pictures" in seesr("data", "index", file).out
    assert [entry.info for entry in shards.list_entries(str(file))] == [{}, {"k": 1}]
    assert len(load_photos([str(tmp_path / "*")], 40)) == 2  # the index is no source
    file.write_bytes(file.read_bytes()[:-2048])
    with pytest.raises(SeesrError, match="cut short, or changed"):
        load_photos([str(file)], 40, memory_gb=0)
    (tmp_path / "a.index.json").write_text("{}")
    with pytest.raises(SeesrError, match="no index of a shard"):
        load_photos([str(file)], 40)


class _Ranges(SimpleHTTPRequestHandler):
    """Files with byte ranges, as object storages serve them; the first request for a picture fails."""

    failed = False

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        file = Path(self.translate_path(self.path))
        if wanted and not type(self).failed:
            type(self).failed = True
            self.send_error(503)
            return
        if not wanted or not file.is_file():
            super().do_GET()
            return
        first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        content = file.read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{file.stat().st_size}")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """URL of `tmp_path` on a server that knows ranges."""
    handler = type("Handler", (_Ranges,), {"failed": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(tmp_path)))  # type: ignore
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_shards_are_read_over_the_network(tmp_path: Path, served: str, seesr: Command, monkeypatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(shards.time, "sleep", lambda _: None)
    folder = folder_of(tmp_path / "photos", 6)
    seesr("data", "pack", folder, "-o", tmp_path / "packed", "--shard-mb", 1)
    url = f"{served}/packed/packed-{{00000..00000}}.tar"
    remote = Crops(load_photos([url], 40, memory_gb=0), 24, seed=1)
    expected = Crops(load_photos([str(folder)], 40), 24, seed=1)
    assert same(remote[3], expected[3])
    loader = DataLoader(remote, sampler=range(12), batch_size=None, num_workers=2)
    assert all(same(sample, expected[index]) for index, sample in enumerate(loader))
    with pytest.raises(SeesrError, match=r"there is no .*index\.json; make it"):
        load_photos([f"{served}/packed/other.tar"], 40)


def test_known_sets_are_counted_and_checked(tmp_path: Path, seesr: Command, monkeypatch) -> None:
    """FFHQ in small: its own metadata file finds the face that was damaged on the way."""
    folder = tmp_path / "ffhq" / "images1024x1024"
    folder.parent.mkdir()
    folder.mkdir()
    metadata = {}
    for number in range(5):
        (folder / f"{number:05d}.png").write_bytes(picture(number))
        digest = hashlib.md5(picture(number)).hexdigest()
        image = {"file_path": f"images1024x1024/00000/{number:05d}.png", "file_md5": digest}
        metadata[str(number)] = {"image": image}
    (folder.parent / "ffhq-dataset-v2.json").write_text(json.dumps(metadata))
    short = seesr("data", "pack", folder, "-o", tmp_path / "packed", "--set", "ffhq10k")
    assert short.code == 2
    assert "holds 5 pictures of ffhq10k, which has 10,000" in short.err
    faces = known_sets.KnownSet(r"\d{5}\.png", 4, first=4, metadata="ffhq-dataset-v2.json")
    monkeypatch.setitem(known_sets.KNOWN_SETS, "ffhq10k", faces)
    (folder / "00002.png").write_bytes(picture(77))
    packed = seesr("data", "pack", folder, "-o", tmp_path / "packed", "--set", "ffhq10k")
    assert packed.code == 0, packed.err
    assert "3 samples of 4 photos" in packed.out
    assert "00002.png: its MD5 is not the published" in packed.out
    zipped = tmp_path / "train2017.zip"
    zipped.write_bytes(b"half")
    with pytest.raises(SeesrError, match="published is cced6f7f"):
        known_sets.check_archive("coco-train", zipped)


def test_packing_cuts_goes_on_and_keeps_to_its_plan(tmp_path: Path, seesr: Command) -> None:
    folder = folder_of(tmp_path / "photos", 4, size=64)  # 72 x 64
    (folder / "bad.png").write_bytes(picture(5)[:200])
    arguments = ("data", "pack", folder, "-o", tmp_path / "packed", "--crop", 32)
    assert "16 samples of 5 photos in 1 shards" in (first := seesr(*arguments)).out
    assert "left out 1, listed in manifest.json; the first: bad.png: damaged" in first.out
    (file,) = (tmp_path / "packed").glob("*.tar")
    stamp = file.stat().st_mtime_ns
    assert seesr(*arguments).out == first.out
    assert file.stat().st_mtime_ns == stamp
    crops = load_photos([str(file)], 32)
    with Image.open(folder / "00.png") as image:
        pixels = np.asarray(image)[:, 4:68]  # as many as fit, around the centre
    assert np.array_equal(crops[3].pixels, pixels[32:64, 32:64])
    assert crops[3].info == {"source": "00.png"}
    assert "16 pictures, all sound" in seesr("data", "check", tmp_path / "packed").out
    assert "other files or settings" in seesr(*arguments[:-1], 16).err
    (folder / "01.json").write_text("{")
    assert "01.json is no JSON object" in seesr(*arguments[:4], tmp_path / "other").err
    file.unlink()
    with pytest.raises(SeesrError, match=r"is missing, which .* lists"):
        load_photos([str(tmp_path / "packed")], 32)
    assert "is missing" in seesr("data", "check", tmp_path / "packed").err
