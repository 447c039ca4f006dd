"""Training photos and samples: bad ones are told or left out, samples depend on seed and number alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from taggers import save_small_ram
from torch.utils.data import DataLoader
from training_photos import folder_of, picture, same, shard

from conftest import Outcome
from seesr.data.samples import Crops, DegradationMix, OnDevice, Pairs, PhotosConfig, Squares, TrainingPhoto, load_photos
from seesr.data.tag_files import tagger_hash
from seesr.errors import SeesrError
from seesr.evaluation.run import read_testset
from seesr.loading import tagger_from_folder


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


@pytest.fixture
def small_ram(tmp_path: Path) -> Path:
    return save_small_ram(tmp_path / "ram")


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


def test_jitter_takes_wider_windows_and_reduces_them(tmp_path: Path) -> None:
    ramp = np.arange(128, dtype=np.uint8)[:, None, None].repeat(128, 1).repeat(3, 2)  # one step a pixel, downwards
    crops = Crops([TrainingPhoto("ramp", ramp)], 32, seed=0, turn=False, jitter=0.5)
    slopes = [float(crops[index]["hr"][0, 1:, 0].float().diff().mean()) for index in range(60)]
    assert min(slopes) >= 0.95
    assert 1.7 < max(slopes) < 2.1
    assert {tuple(crops[index]["hr"].shape) for index in range(60)} == {(3, 32, 32)}
    assert same(crops[7], Crops([TrainingPhoto("ramp", ramp)], 32, seed=0, turn=False, jitter=0.5)[7])


Command = Callable[..., Outcome]


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
