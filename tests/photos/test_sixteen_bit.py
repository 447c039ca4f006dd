"""Results of 16 bits a channel, by value: files, colours, transparency, metadata, and the command that makes them."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from photo_files import GRAY, P3, SRGB, png16, smooth
from PIL import Image

from conftest import Outcome, Reference
from seesr import SeeSRPipeline
from seesr.errors import SeesrError
from seesr.photos.files import write_sixteen
from seesr.photos.icc import from_srgb
from seesr.photos.photo import Photo, read_photo
from seesr.photos.pictures import Picture16, to_picture, to_tensor
from seesr.photos.sixteen_bit import Result16, choose_bits, finish_sixteen


def read_sixteen(path: Path) -> np.ndarray:
    """(h, w, channels) of a file, by a reader that is not ours."""
    data = path.read_bytes()
    read = {".png": imagecodecs.png_decode, ".tif": lambda _: tifffile.imread(path)}
    values = read[path.suffix](data)
    assert values.dtype == np.uint16
    return values.reshape(*values.shape[:2], -1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_files_hold_every_value(tmp_path: Path, channels: int, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (150, 7, channels), dtype=np.uint16)
    write_sixteen(Result16(values, {}), tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_sixteen(tmp_path / f"a{suffix}"), values)
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.bits == 16
    assert (photo.gray, photo.alpha is None) == (channels < 3, channels % 2 == 1)
    again = finish_sixteen(photo.sixteen.rgb, photo)
    visible = values[..., -1] >= 257 if channels % 2 == 0 else np.ones((150, 7), bool)
    np.testing.assert_array_equal(again.values[visible], values[visible])


def test_colours_go_to_the_profile_as_by_little_cms_but_finer() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = Image.fromarray(colours)
    for profile, gray in ((P3, False), (SRGB, False), (GRAY, True)):
        photo = Photo(picture, gray=gray, icc_profile=profile)
        finished = finish_sixteen(Picture16.of(picture), photo)
        expected = np.asarray(from_srgb(picture, profile) if profile is not SRGB else picture, float)
        difference = np.abs(finished.values.squeeze() / 257 - expected)
        assert difference.max() < 3  # Little CMS's tables are coarse near black
        assert difference.mean() < 0.26  # rounding to 8 bits alone leaves a quarter
    ramp = np.linspace(20_000, 22_000, 600).round().astype(np.uint16)[None, :, None].repeat(3, 2)
    finished = finish_sixteen(Picture16(ramp), Photo(picture, icc_profile=P3))
    assert len(np.unique(finished.values[..., 1])) > 500  # where 8 bits have 9


def test_pictures_of_16_bits_do_what_pillows_do() -> None:
    picture = smooth()
    fine = Picture16.of(picture)
    np.testing.assert_array_equal(np.asarray(fine.rounded()), np.asarray(picture))
    np.testing.assert_array_equal(np.asarray(fine.crop((3, 4, 9, 8)).rounded()), np.asarray(picture.crop((3, 4, 9, 8))))
    larger = np.asarray(fine.resize((77, 41)).rounded(), int)
    assert np.abs(larger - np.asarray(picture.resize((77, 41), Image.Resampling.BICUBIC), int)).max() <= 1
    assert fine.histogram() == picture.histogram()
    values = torch.rand(1, 3, 5, 6)
    assert (to_tensor(to_picture(values, sixteen_bit=True)) - values).abs().max() <= 0.51 / 65535


@pytest.mark.parametrize("color_fix", ["adain", "wavelet", "none"])
@pytest.mark.parametrize("scale", [4, 2.5])
def test_sixteen_bits_are_the_same_picture_finer(tiny: Reference, color_fix: str, scale: float) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png").convert("RGB")
    settings = {"profile": "paper", "num_inference_steps": 1, "process_size": 64, "color_fix": color_fix}
    coarse = pipeline(photo, scale=scale, output_type="np", **settings).images[0]
    fine = pipeline(photo, scale=scale, output_type="np", bits=16, **settings).images[0]
    assert (fine.dtype, fine.shape) == (np.uint16, coarse.shape)
    apart = np.abs(fine / 257 - coarse)
    assert apart.mean() < (0.32 if color_fix == "none" else 0.6)  # rounding leaves .25, a colour fix cuts: .5
    assert apart.max() < 2.5
    assert len(np.unique(fine)) > 2000


def test_command(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 24 * 16).round().astype(np.uint16).reshape(16, 24, 1).repeat(3, 2)
    png16(tmp_path / "in.png", ramp, 2)
    eight = ("-o", tmp_path / "eight.png", "--bits", 8, "--dtype", "fp32")  # the other is never in bfloat16
    outcome = seesr("upscale", tmp_path / "in.png", *eight)
    assert outcome.code == 0
    assert "16 bits a channel became 8" in outcome.err
    outcome = seesr("upscale", tmp_path / "in.png", "-o", tmp_path / "out.png", "--compare")
    assert outcome.code == 0, outcome.err
    assert "16 bits a channel, as the photo has" in outcome.err
    values = read_sixteen(tmp_path / "out.png")
    assert values.shape == (64, 96, 3)
    assert len(np.unique(values)) > 3000
    assert "coarser" not in outcome.err
    coarse = np.asarray(Image.open(tmp_path / "eight.png"), int)
    apart = np.abs(values / 257 - coarse).mean()
    assert apart < 1.0  # .90: of a ramp of 384 steps, 8 bits keep 256 and the network sees it
    outcome = seesr("upscale", tmp_path / "in.png", "-o", tmp_path / "low.png", "--dtype", "bf16")
    assert "made in bfloat16, which is coarser than 16 bits; --dtype float32 is finer" in outcome.err
    assert Image.open(tmp_path / "out-compare.png").size == (200, 64)
    for arguments, words in ((("out.jpg", 16), "use --ext png or tiff"), (("out.png", 12), "give 8 or 16")):
        outcome = seesr("upscale", tmp_path / "in.png", "-o", tmp_path / f"x{arguments[0]}", "--bits", arguments[1])
        assert outcome.code == 2
        assert words in outcome.err
    with pytest.raises(SeesrError, match="8 bits a channel"):
        write_sixteen(Result16(values, {}), tmp_path / "a.webp")


def test_without_the_libraries_it_is_said_and_read_as_eight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8, 1)
    png16(tmp_path / "in.png", ramp.repeat(3, 2), 2)
    tifffile.imwrite(tmp_path / "inverted.tif", 65535 - ramp[..., 0], photometric="miniswhite")
    tifffile.imwrite(tmp_path / "float.tif", ramp[..., 0] / np.float32(65535))
    for module in ("decode", "photo", "sixteen_bit"):
        monkeypatch.setattr(f"seesr.photos.{module}.has_sixteen_bits", lambda: False)
    for name in ("in.png", "inverted.tif"):
        photo = read_photo(tmp_path / name)
        assert photo.sixteen is None
        assert "pip install imagecodecs tifffile" in photo.notes[-1]
        assert np.abs(np.asarray(photo.rgb)[..., 0] - ramp[..., 0] / 257).max() <= 1
    with pytest.raises(SeesrError, match="32-bit floating-point samples; to read these: pip install"):
        read_photo(tmp_path / "float.tif")
    with pytest.raises(SeesrError, match="`bits` 16 needs"):
        choose_bits(photo, tmp_path / "a.png", 16)
