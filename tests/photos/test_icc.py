"""Colours there and back by value: formats, orientation, profiles, 16 bits."""

from pathlib import Path

import numpy as np
import pytest
from photo_files import GRAY, P3, P3_XYZ, SRGB, SRGB_XYZ, H, W, again, chunk, cmyk_profile, noise, png16, smooth
from PIL import ExifTags, Image, ImageOps

from seesr.errors import SeesrError
from seesr.photos.files import WRITABLE, write_photo
from seesr.photos.photo import finish_photo, read_photo


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1"])
def test_lossless_round_trip_keeps_every_visible_value(tmp_path: Path, mode: str, suffix: str) -> None:
    channels = {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2, "1": 1}[mode]
    source = Image.fromarray(noise(channels), None if mode == "1" else mode).convert(mode)
    source.save(tmp_path / "in.png")
    result = again(tmp_path / "in.png", tmp_path / f"out{suffix}", quality=100)
    if suffix != ".webp":  # which holds grey as colour
        assert result.mode == {"1": "L"}.get(mode, mode)
    expected, found = np.asarray(source.convert("RGBA")), np.asarray(result.convert("RGBA"))
    visible = expected[..., 3] > 0
    np.testing.assert_array_equal(found[..., 3], expected[..., 3])
    np.testing.assert_array_equal(found[visible], expected[visible])


@pytest.mark.parametrize("suffix", sorted(WRITABLE - {".png", ".tif", ".tiff", ".jfif", ".jpe", ".jpeg", ".jxl"}))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossy_formats_stay_close_and_keep_sharp_chroma(tmp_path: Path, mode: str, suffix: str) -> None:
    source = smooth(mode)
    if mode == "RGB" and suffix != ".webp":  # red lines one pixel wide: lost with halved chroma
        source.paste((200, 40, 40), (10, 0, 11, 48))
        source.paste((200, 40, 40), (31, 0, 32, 48))
    source.save(tmp_path / "in.png")
    result = again(tmp_path / "in.png", tmp_path / f"out{suffix}", quality=95)
    difference = np.abs(np.asarray(result.convert("RGB"), int) - np.asarray(source.convert("RGB"), int))
    assert difference.max() <= 10  # JPEG 7, the others 5
    assert difference.mean() < 1.2


def test_lower_quality_makes_smaller_files(tmp_path: Path) -> None:
    source = Image.fromarray(noise(3)).resize((96, 96))
    for suffix in sorted(WRITABLE & {".jpg", ".webp", ".avif"}):
        write_photo(source, tmp_path / f"a{suffix}", quality=30)
        write_photo(source, tmp_path / f"b{suffix}", quality=95)
        assert (tmp_path / f"a{suffix}").stat().st_size < 0.7 * (tmp_path / f"b{suffix}").stat().st_size
    with pytest.raises(SeesrError, match="`quality` cannot be 0"):
        write_photo(source, tmp_path / "c.jpg", quality=0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    source = smooth()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source.save(tmp_path / f"in{suffix}", exif=exif, **({} if suffix in (".png", ".tif") else {"quality": 95}))
    source.getexif()[ExifTags.Base.Orientation] = orientation
    expected = ImageOps.exif_transpose(source)
    result = ImageOps.exif_transpose(again(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"))
    assert result.size == expected.size
    assert np.abs(np.asarray(result, int) - np.asarray(expected, int)).mean() < 2
    assert result.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_wide_gamut_profile_is_honoured_and_kept(tmp_path: Path) -> None:
    own = np.full((8, 8, 3), 128, np.uint8)
    own[:, 4:] = (255, 0, 0)  # a red that sRGB has not
    own[:2, :2] = (180, 90, 60)  # a brown that it has
    Image.fromarray(own).save(tmp_path / "in.png", icc_profile=P3)
    photo = read_photo(tmp_path / "in.png")

    # through XYZ: (180, 90, 60)^2.2 by P3's matrix, by the inverse of sRGB's, and sRGB's curve
    to_srgb = np.linalg.inv(np.transpose(SRGB_XYZ)) @ np.transpose(P3_XYZ)
    linear = to_srgb @ (np.array([180, 90, 60]) / 255) ** 2.2
    brown = 1.055 * linear ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(photo.rgb.getpixel((0, 0)), brown * 255, atol=1.5)
    assert np.abs(brown * 255 - (180, 90, 60)).max() > 8  # so that leaving the profile unread would show
    np.testing.assert_allclose(photo.rgb.getpixel((6, 0)), (255, 0, 0), atol=1)

    result = again(tmp_path / "in.png", tmp_path / "out.jpg", quality=100)
    assert result.info["icc_profile"] == P3
    assert np.abs(np.asarray(result, int) - own)[:, 5:].max() <= 3  # the red too is back
    larger = finish_photo(photo.rgb.resize((16, 16), Image.Resampling.NEAREST), photo)
    np.testing.assert_allclose(larger.getpixel((14, 2)), (255, 0, 0), atol=1)
    np.testing.assert_allclose(larger.getpixel((1, 12)), (128, 128, 128), atol=2)


def test_srgb_by_any_name_changes_nothing(tmp_path: Path) -> None:
    source = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(source).save(tmp_path / "in.png", icc_profile=SRGB)
    photo = read_photo(tmp_path / "in.png")
    np.testing.assert_array_equal(np.asarray(photo.rgb), source)
    result = finish_photo(photo.rgb, photo)
    np.testing.assert_array_equal(np.asarray(result), source)
    assert result.info["icc_profile"] == SRGB


def test_gray_profile_is_honoured_and_kept(tmp_path: Path) -> None:
    ramp = np.arange(0, 256, 5, dtype=np.uint8)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "in.png", icc_profile=GRAY)
    seen = np.asarray(read_photo(tmp_path / "in.png").rgb, float)[0] / 255  # (52, 3)
    light = (ramp[0] / 255) ** 1.8
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(seen, expected[:, None].repeat(3, 1), atol=1.5 / 255)
    result = again(tmp_path / "in.png", tmp_path / "out.png")
    assert result.mode == "L"
    assert result.info["icc_profile"] == GRAY
    assert np.abs(np.asarray(result, int) - ramp).max() <= 2
    webp = again(tmp_path / "in.png", tmp_path / "out.webp", quality=100)  # no grey there: sRGB without a profile
    assert "icc_profile" not in webp.info
    np.testing.assert_allclose(np.asarray(webp)[0, :, 0] / 255, expected, atol=3 / 255)


def test_cmyk_goes_through_its_profile_to_srgb(tmp_path: Path) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, 8:, 0] = 255  # cyan
    Image.fromarray(inks, "CMYK").save(tmp_path / "with.tif", icc_profile=cmyk_profile())
    Image.fromarray(inks, "CMYK").save(tmp_path / "without.jpg", quality=100)
    photo = read_photo(tmp_path / "with.tif")
    np.testing.assert_allclose(photo.rgb.getpixel((2, 2)), (255, 255, 255), atol=2)
    np.testing.assert_allclose(photo.rgb.getpixel((12, 2)), (119, 119, 119), atol=3)  # L* = 50
    assert photo.icc_profile is None
    assert photo.notes == ("CMYK was converted to sRGB",)
    np.testing.assert_allclose(read_photo(tmp_path / "without.jpg").rgb.getpixel((12, 2)), (0, 255, 255), atol=3)


def test_unfit_profiles_are_ignored_and_said_so(tmp_path: Path) -> None:
    source = noise(3)
    for name, profile in {"cmyk": cmyk_profile(), "rubbish": b"no profile at all" * 20}.items():
        Image.fromarray(source).save(tmp_path / f"{name}.png", icc_profile=profile)
        photo = read_photo(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(np.asarray(photo.rgb), source)
        assert "profile" in photo.notes[0]
        assert finish_photo(photo.rgb, photo).info.get("icc_profile") is None


@pytest.mark.parametrize("top", [200, 65535])  # a dark 16-bit picture must stay dark
def test_sixteen_bit_gray_does_not_depend_on_its_values(tmp_path: Path, top: int) -> None:
    values = np.linspace(0, top, W * H).round().astype(np.uint16).reshape(H, W)
    expected = (values / 257).round()
    png16(tmp_path / "a.png", values[..., None], 0)
    Image.fromarray(values).save(tmp_path / "b.tif")
    Image.fromarray(values).save(tmp_path / "c.tif", compression="tiff_lzw")
    (tmp_path / "d.pgm").write_bytes(b"P5 %d %d 65535\n" % (W, H) + values.astype(">u2").tobytes())
    for name in ("a.png", "b.tif", "c.tif", "d.pgm"):
        photo = read_photo(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(photo.rgb)[..., 0], expected)
        assert photo.gray
        assert photo.bits == 16


def test_float_gray_is_zero_to_one(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-1, 0, 0.25], [0.5, 1, 7]], np.float32)).save(tmp_path / "f.tif")
    np.testing.assert_array_equal(np.asarray(read_photo(tmp_path / "f.tif").rgb)[..., 1], [[0, 0, 64], [128, 255, 255]])


def test_sixteen_bit_colour_and_transparency(tmp_path: Path) -> None:
    levels = noise(4)
    wide = levels.astype(np.uint16) * 257
    photo = read_photo(png16(tmp_path / "rgba.png", wide, 6))
    visible = levels[..., 3] > 0
    np.testing.assert_array_equal(np.asarray(photo.rgb)[visible], levels[..., :3][visible])
    np.testing.assert_array_equal(np.asarray(photo.alpha), levels[..., 3])
    assert photo.bits == 16

    photo = read_photo(png16(tmp_path / "la.png", wide[..., :2], 4))
    assert photo.gray
    np.testing.assert_array_equal(np.asarray(photo.alpha), levels[..., 1])

    wide = np.random.default_rng(1).integers(0, 65536, (H, W, 4), dtype=np.uint16)  # low bytes unlike the high ones
    key = wide[2, 3]
    photo = read_photo(png16(tmp_path / "key.png", wide[..., :3], 2, chunk(b"tRNS", key[:3].astype(">u2").tobytes())))
    np.testing.assert_array_equal(np.asarray(photo.alpha) == 0, (wide[..., :3] == key[:3]).all(-1))
    photo = read_photo(png16(tmp_path / "gkey.png", wide[..., :1], 0, chunk(b"tRNS", key[:1].astype(">u2").tobytes())))
    np.testing.assert_array_equal(np.asarray(photo.alpha) == 0, wide[..., 0] == key[0])


def test_lab_and_ycbcr_keep_their_colours(tmp_path: Path) -> None:
    source = smooth()
    for mode in ("LAB", "YCbCr"):
        source.convert(mode).save(tmp_path / "in.tif", compression="tiff_lzw")  # Pillow 12 cannot read its YCbCr raw
        photo = read_photo(tmp_path / "in.tif")
        assert not photo.gray
        assert np.abs(np.asarray(photo.rgb, int) - np.asarray(source, int)).mean() < 1
