"""Results of 16 bits a channel, by value: files, colours, transparency, metadata, and the command that makes them."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_files import GRAY, P3, SRGB, cmyk_profile, png16, smooth
from PIL import Image

from conftest import Outcome, Reference
from seesr import SeeSRPipeline
from seesr.errors import SeesrError
from seesr.photos.icc import from_srgb
from seesr.photos.photo import Photo, read_photo
from seesr.photos.pictures import DeepPicture, to_picture, to_tensor
from seesr.photos.sixteen_bit import DeepResult, finish_deep, write_deep


def read_png16(path: Path) -> np.ndarray:
    """(h, w, channels) of a PNG of 16 bits, byte by byte as the standard tells."""
    data, place, packed = path.read_bytes(), 8, b""
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", data, place + 8 + size)[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height, bits, color_type = struct.unpack_from(">IIBB", body)
            assert bits == 16
        packed += body if kind == b"IDAT" else b""
        place += 12 + size
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[color_type]
    raw, step, above = zlib.decompress(packed), 2 * channels, bytes(width * 2 * channels)
    rows = []
    for y in range(height):
        start = y * (1 + width * step)
        assert raw[start] == 4
        row = bytearray(raw[start + 1 : start + 1 + width * step])
        for i in range(len(row)):
            a, c = (row[i - step], above[i - step]) if i >= step else (0, 0)
            b, p = above[i], a + above[i] - c
            row[i] = (row[i] + min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]) % 256
        rows.append(bytes(row))
        above = rows[-1]
    return np.frombuffer(b"".join(rows), ">u2").reshape(height, width, channels)


def read_tiff16(path: Path) -> np.ndarray:
    """(h, w, channels) of a TIFF of 16 bits in one strip, deflated, with horizontal differences."""
    data = path.read_bytes()
    assert data[:4] == b"II*\0"
    start = struct.unpack_from("<I", data, 4)[0]
    tags = {}
    for i in range(struct.unpack_from("<H", data, start)[0]):
        tag, kind, count = struct.unpack_from("<HHI", data, start + 2 + 12 * i)
        if count == 1:
            tags[tag] = struct.unpack_from("<H" if kind == 3 else "<I", data, start + 10 + 12 * i)[0]
    raw = zlib.decompress(data[tags[273] : tags[273] + tags[279]])
    differences = np.frombuffer(raw, "<u2").reshape(tags[257], tags[256], tags[277])
    return np.cumsum(differences, 1, dtype=np.uint16)


READERS = {".png": read_png16, ".tif": read_tiff16}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_files_hold_every_value(tmp_path: Path, channels: int, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (150, 7, channels), dtype=np.uint16)
    values[:, :, 0] = np.linspace(0, 65535, 150).round()[:, None]  # smooth, so that each of Paeth's three comes up
    write_deep(DeepResult(values, {}), tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(READERS[suffix](tmp_path / f"a{suffix}"), values)
    if (channels, suffix) != (2, ".tif"):  # which Pillow cannot read
        photo = read_photo(tmp_path / f"a{suffix}")
        assert photo.deep
        assert (photo.gray, photo.alpha is None) == (channels < 3, channels % 2 == 1)
        visible = values[..., -1] > 257 if channels % 2 == 0 else np.ones((150, 7), bool)
        colour = values[..., :3] if channels > 2 else values[..., :1]
        assert np.abs(np.asarray(photo.rgb)[visible] - colour[visible] / 257).max() <= 1  # Pillow cuts the low byte


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_metadata_are_in_the_file(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[271] = "Acme"
    exif[0x8769] = {0xA002: 4, 0x9003: "2024:01:02 03:04:05"}
    photo = Photo(Image.new("RGB", (4, 4)), icc_profile=P3, exif=exif.tobytes(), xmp=b"<x:xmpmeta/>", dpi=(300, 300))
    finished, _ = finish_deep(DeepPicture.new((8, 8)), photo)
    write_deep(finished, tmp_path / f"a{suffix}")
    again = read_photo(tmp_path / f"a{suffix}")
    assert (again.icc_profile, again.xmp) == (P3, b"<x:xmpmeta/>")
    assert again.dpi == pytest.approx((300, 300), abs=0.1)
    tags = Image.open(tmp_path / f"a{suffix}").getexif()
    assert tags[271] == "Acme"
    assert tags.get_ifd(0x8769)[0xA002] == 8
    assert tags.get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"


def test_colours_go_to_the_profile_as_by_little_cms_but_finer() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = Image.fromarray(colours)
    for profile, gray in ((P3, False), (SRGB, False), (GRAY, True)):
        photo = Photo(picture, gray=gray, icc_profile=profile)
        finished, notes = finish_deep(DeepPicture.of(picture), photo)
        assert not notes
        expected = np.asarray(from_srgb(picture, profile) if profile is not SRGB else picture, float)
        difference = np.abs(finished.values.squeeze() / 257 - expected)
        assert difference.max() < 3  # Little CMS's tables are coarse near black
        assert difference.mean() < 0.26  # rounding to 8 bits alone leaves a quarter
    ramp = np.linspace(20_000, 22_000, 600).round().astype(np.uint16)[None, :, None].repeat(3, 2)
    finished, _ = finish_deep(DeepPicture(ramp), Photo(picture, icc_profile=P3))
    assert len(np.unique(finished.values[..., 1])) > 500  # where 8 bits have 9


def test_profiles_that_work_by_tables_leave_the_result_in_srgb() -> None:
    photo = Photo(Image.new("RGB", (4, 4)), gray=True, icc_profile=cmyk_profile())
    finished, notes = finish_deep(DeepPicture.new((8, 8)), photo)
    assert "icc_profile" not in finished.info
    assert "sRGB" in notes[0]


def test_deep_pictures_do_what_pillows_do() -> None:
    picture = smooth()
    deep = DeepPicture.of(picture)
    np.testing.assert_array_equal(np.asarray(deep.rounded()), np.asarray(picture))
    np.testing.assert_array_equal(np.asarray(deep.crop((3, 4, 9, 8)).rounded()), np.asarray(picture.crop((3, 4, 9, 8))))
    larger = np.asarray(deep.resize((77, 41)).rounded(), int)
    assert np.abs(larger - np.asarray(picture.resize((77, 41), Image.Resampling.BICUBIC), int)).max() <= 1
    assert deep.histogram() == picture.histogram()
    values = torch.rand(1, 3, 5, 6)
    assert (to_tensor(to_picture(values, deep=True)) - values).abs().max() <= 0.51 / 65535


@pytest.mark.parametrize("color_fix", ["adain", "wavelet", "none"])
@pytest.mark.parametrize("scale", [4, 2.5])
def test_sixteen_bits_are_the_same_picture_finer(tiny: Reference, color_fix: str, scale: float) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png").convert("RGB")
    settings = {"profile": "paper", "num_inference_steps": 1, "process_size": 64, "color_fix": color_fix}
    coarse = pipeline(photo, scale=scale, output_type="np", **settings).images[0]
    fine = pipeline(photo, scale=scale, output_type="np", bits=16, **settings).images[0]
    assert (fine.dtype, fine.shape) == (np.uint16, coarse.shape)
    assert np.abs(fine / 257 - coarse).mean() < 0.8  # the colour fix cuts to 8 bits, as published
    assert len(np.unique(fine)) > 2000


def test_command(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 24 * 16).round().astype(np.uint16).reshape(16, 24, 1).repeat(3, 2)
    png16(tmp_path / "in.png", ramp, 2)
    outcome = seesr("upscale", tmp_path / "in.png", "-o", tmp_path / "eight.png")
    assert outcome.code == 0
    assert "--bits 16 gives 16" in outcome.err
    outcome = seesr("upscale", tmp_path / "in.png", "-o", tmp_path / "out.png", "--bits", 16, "--compare")
    assert outcome.code == 0, outcome.err
    assert "read as 8; the result has 16" in outcome.err
    values = read_png16(tmp_path / "out.png")
    assert values.shape == (64, 96, 3)
    assert len(np.unique(values)) > 3000
    eight = np.asarray(Image.open(tmp_path / "eight.png"), int)  # there the network runs in bfloat16, where it pays
    assert np.abs(values / 257 - eight).mean() <= 1
    assert Image.open(tmp_path / "out-compare.png").size == (200, 64)
    for arguments, words in ((("out.jpg", 16), "use --ext png or tiff"), (("out.png", 12), "give 8 or 16")):
        outcome = seesr("upscale", tmp_path / "in.png", "-o", tmp_path / f"x{arguments[0]}", "--bits", arguments[1])
        assert outcome.code == 2
        assert words in outcome.err
    with pytest.raises(SeesrError, match="8 bits a channel"):
        write_deep(DeepResult(values, {}), tmp_path / "a.webp")
