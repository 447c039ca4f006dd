"""Training photos: from folders, shards and over a network; bad ones are told or left out; samples stay together."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from taggers import save_small_ram
from torch.utils.data import DataLoader

from conftest import Outcome
from seesr.data import known_sets, shards
from seesr.data.photos import StreamedPhotos
from seesr.data.samples import Crops, DegradationMix, OnDevice, Pairs, PhotosConfig, Squares, TrainingPhoto, load_photos
from seesr.data.tag_files import tagger_hash
from seesr.errors import SeesrError
from seesr.evaluation.run import read_testset
from seesr.loading import tagger_from_folder


def picture(seed: int, size: int = 40) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size + 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_damaged_photos_are_left_out_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"a.png": picture(0), "a.json": b'{"label": "x"}', "b.png": picture(1)[:300], "c.png": picture(2)}
    shard(tmp_path / "s.tar", files)
    photos = load_photos([str(tmp_path / "*.tar")], 40)
    assert [Path(photo.name).name for photo in photos] == ["a.png", "c.png"]
    assert photos[0].info == {"label": "x"}
    assert "1 damaged" in caplog.text


def test_useless_photos_are_errors(tmp_path: Path) -> None:
    whole = shard(tmp_path / "whole.tar", {"a.png": picture(0), "b.png": picture(1)})
    with pytest.raises(SeesrError, match=r"smaller than the crop of 41 pixels.*48x40"):
        load_photos([str(whole)], 41)
    for size in (whole.stat().st_size // 4, whole.stat().st_size - 9216, 512):
        (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:size])
        with pytest.raises(SeesrError, match=r"cut\.tar"):
            load_photos([str(tmp_path / "cut.tar")], 40)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeesrError, match="holds no picture"):
        load_photos([str(tmp_path / "empty")], 40)
    with pytest.raises(SeesrError, match="there is no file or folder"):
        load_photos([str(tmp_path / "nowhere-*.tar")], 40)


def test_crops_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    photos = load_photos([str(tmp_path)], 16)
    one, other = Crops(photos, 16, seed=5), Crops(photos, 16, seed=5)
    backwards = {index: other[index] for index in reversed(range(9))}
    assert all(torch.equal(one[index][key], backwards[index][key]) for index in range(9) for key in ("hr", "seed"))
    assert not torch.equal(one[0]["hr"], Crops(photos, 16, seed=6)[0]["hr"])
    order = [one._permutation(epoch).tolist() for epoch in range(6)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in order)  # every photo once an epoch
    assert len({tuple(epoch) for epoch in order}) > 1


def test_the_mixture_draws_by_seed_and_keeps_its_shares() -> None:
    mix = DegradationMix({"bicubic": 1.0, "camera": 3.0})
    hr, seeds = torch.rand(1, 3, 16, 16), torch.arange(60)
    lr, target = mix(hr.expand(60, -1, -1, -1), seeds)
    assert torch.equal(lr[7:9], mix(hr.expand(2, -1, -1, -1), seeds[7:9])[0])
    assert torch.equal(target[0], hr[0])
    clean = DegradationMix({"bicubic": 1.0})(hr, seeds[:1])[0]
    assert 0.1 < (lr == clean).flatten(1).all(1).double().mean() < 0.4
    with pytest.raises(SeesrError, match="no mixture"):
        DegradationMix({"bicubic": -1.0})


def folder_of(path: Path, count: int, size: int = 40) -> Path:
    path.mkdir()
    for number in range(count):
        (path / f"{number:02d}.png").write_bytes(picture(number, size))
    return path


def same(one: dict, other: dict) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[k], other[k]) if isinstance(one[k], torch.Tensor) else one[k] == other[k] for k in one)


Command = Callable[..., Outcome]


@pytest.fixture
def small_ram(tmp_path: Path) -> Path:
    return save_small_ram(tmp_path / "ram")


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


def test_small_photos_are_left_out_if_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path / "photos", 3)
    (folder / "small.png").write_bytes(picture(9, 20))
    for memory_gb in (8.0, 0.0):
        with pytest.raises(SeesrError, match=r"1 of 4 photos are smaller.*small\.png \(28x20\).*small_photos to skip"):
            load_photos([str(folder)], 40, memory_gb=memory_gb)
        assert len(load_photos([str(folder)], 40, small="skip", memory_gb=memory_gb)) == 3
    assert "1 of 4 photos" in caplog.text
    (folder / "damaged.png").write_bytes(b"no picture")
    with pytest.raises(SeesrError, match="4 of 5"):  # nothing of use is left
        load_photos([str(folder)], 100, small="skip")


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


def test_jitter_takes_wider_windows_and_reduces_them(tmp_path: Path) -> None:
    ramp = np.arange(128, dtype=np.uint8)[:, None, None].repeat(128, 1).repeat(3, 2)  # one step a pixel, downwards
    crops = Crops([TrainingPhoto("ramp", ramp)], 32, seed=0, turn=False, jitter=0.5)
    slopes = [float(crops[index]["hr"][0, 1:, 0].float().diff().mean()) for index in range(60)]
    assert min(slopes) >= 0.95
    assert 1.7 < max(slopes) < 2.1
    assert {tuple(crops[index]["hr"].shape) for index in range(60)} == {(3, 32, 32)}
    assert same(crops[7], Crops([TrainingPhoto("ramp", ramp)], 32, seed=0, turn=False, jitter=0.5)[7])


def test_samples_made_on_the_device_are_those_of_the_loader(tmp_path: Path) -> None:
    photos = load_photos([str(folder_of(tmp_path / "photos", 3))], 40, whole=True)
    tagged = [TrainingPhoto(photo.name, photo.pixels, tags=f"tag{n}") for n, photo in enumerate(photos)]
    for source in (tagged, Squares(tagged, 24)):
        usual, there = (Pairs(Crops(source, 24, seed=1), DegradationMix({"seesr": 1.0})) for _ in range(2))
        batch = next(iter(DataLoader(usual, batch_size=5, sampler=range(4, 9))))
        numbers = next(iter(DataLoader(OnDevice(there), batch_size=5, sampler=range(4, 9))))
        assert same(OnDevice(there).make(numbers["number"]), batch)
        assert all(isinstance(photo.pixels, torch.Tensor) for photo in there.crops.photos)
    with pytest.raises(SeesrError, match=r"on_device: 3 photos need 0\.0 GB decoded, more than memory_gb"):
        load_photos([str(tmp_path / "photos")], 40, memory_gb=0, whole=True)
    with pytest.raises(SeesrError, match="leave scale_jitter out"):
        PhotosConfig(photos=[], on_device=True, scale_jitter=0.5)


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


def test_tags_are_seen_once_and_travel_with_their_photo(tmp_path: Path, seesr: Command, small_ram: Path) -> None:
    folder = folder_of(tmp_path / "photos", 5)
    tagger = tagger_from_folder(small_ram)
    pictures = [torch.tensor(photo.pixels).permute(2, 0, 1)[None] / 255 for photo in load_photos([str(folder)], 40)]
    with torch.no_grad():
        seen = tagger(torch.cat([tagger.preprocess(one) for one in pictures])).logits.sigmoid()
    levels = torch.cat([seen, torch.ones(1, seen.shape[1])]).sort(dim=0).values  # a tag is on in four photos to none
    thresholds = [float(levels[number % 5 : number % 5 + 2, number].mean()) for number in range(seen.shape[1])]
    tagger.register_to_config(thresholds=thresholds)
    tagger.save_pretrained(small_ram)
    known = tagger_hash(tagger_from_folder(small_ram))
    with pytest.raises(SeesrError, match=r"5 of 5 photos in .* have no tags of this tagger.*seesr data tag"):
        load_photos([str(folder)], 40, tagger=known)
    tagged = seesr("data", "tag", folder, "--model", small_ram, "--batch", 2)
    assert "5 photos tagged" in tagged.out, tagged.err
    assert "0 photos tagged" in seesr("data", "tag", folder, "--model", small_ram).out
    photos = load_photos([str(folder)], 40, tagger=known)
    texts = [photo.tags for photo in photos]
    assert len(set(texts)) > 3
    assert texts[1] == ", ".join(f"tag{i}" for i, p in enumerate(seen[1]) if p > thresholds[i])
    pairs = Pairs(Crops(photos, 24, seed=1), DegradationMix({"bicubic": 1.0}))
    batch = next(iter(DataLoader(pairs, batch_size=5, sampler=range(5), num_workers=2)))
    assert batch["tags"] == [texts[pairs.crops.photo_of(index)] for index in range(5)]
    (folder / "00.png").write_bytes(picture(0, 60))  # another photo under the old name
    with pytest.raises(SeesrError, match=r"1 of 5 photos .* 00\.png"):
        load_photos([str(folder)], 40, tagger=known)


def test_a_synthetic_test_set_is_made_alike_and_evaluated(tmp_path: Path, seesr: Command) -> None:
    folder = folder_of(tmp_path / "photos", 3, size=64)
    for name in ("one", "two"):
        made = seesr("data", "synthetic", folder, "-o", tmp_path / name, "--count", 5, "--crop", 32, "--seed", 4)
        assert made.code == 0, made.err
    one, two = (
        {f.name: f.read_bytes() for f in (tmp_path / name).rglob("*") if f.is_file()} for name in ("one", "two")
    )
    assert one == two
    found = read_testset(tmp_path / "one")
    assert (len(found.pairs), found.scale) == (5, 4)
    assert "10 pictures, all sound" in seesr("data", "check", tmp_path / "one").out
    (tmp_path / "one" / "lr" / "000003.png").write_bytes(picture(0, 8))
    assert "000003.png: its SHA-256 is not that of the manifest" in seesr("data", "check", tmp_path / "one").out
    assert "exists" in seesr("data", "synthetic", folder, "-o", tmp_path / "two", "--crop", 32).err
