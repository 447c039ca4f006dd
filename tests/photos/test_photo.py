"""Photos as a whole: transparency, tiny ones, frames, scales."""

from pathlib import Path

import numpy as np
import pytest
from photo_files import noise, smooth
from PIL import Image
from PIL.ImageFilter import MaxFilter, MinFilter

from seesr.errors import SeesrError
from seesr.photos.alpha import restore_alpha, restore_alpha16
from seesr.photos.files import format_notes, longest_side, write_photo
from seesr.photos.photo import finish_photo, read_photo
from seesr.photos.pictures import Picture16, side_by_side
from seesr.restoration.sizes import target_scale


def test_palette_with_transparency(tmp_path: Path) -> None:
    indexed = Image.fromarray((noise(1) % 4).astype(np.uint8), "P")
    indexed.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200, 90, 90, 90])
    indexed.save(tmp_path / "p.png", transparency=bytes((255, 128, 0, 255)))
    indexed.save(tmp_path / "p.gif", transparency=2)
    colours = np.array([(200, 10, 10), (10, 200, 10), (10, 10, 200), (90, 90, 90)])[np.asarray(indexed)]
    visible = np.asarray(indexed) != 2
    for name, middle in (("p.png", 128), ("p.gif", 255)):
        photo = read_photo(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(photo.alpha), np.array([255, middle, 0, 255])[np.asarray(indexed)])
        np.testing.assert_array_equal(np.asarray(photo.rgb)[visible], colours[visible])
        assert not photo.gray


def test_no_halo_at_the_edge_of_transparency(tmp_path: Path) -> None:
    """A brown disk on transparent green: enlarged, nothing that can be seen may be green."""
    side, brown = 37, np.array((180, 120, 40))
    y, x = np.mgrid[:side, :side]
    inside = (x - 15) ** 2 + (y - 20) ** 2 < 100
    pixels = np.where(inside[..., None], (*brown, 255), (0, 255, 0, 0)).astype(np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "in.png")
    photo = read_photo(tmp_path / "in.png")
    assert np.abs(np.asarray(photo.rgb, int) - brown).max() <= 3  # everywhere, to the corners

    size = (4 * side, 4 * side)
    result = np.asarray(finish_photo(photo.rgb.resize(size, Image.Resampling.BICUBIC), photo), int)
    assert np.abs(result[..., :3] - brown)[result[..., 3] > 0].max() <= 3
    alpha = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(result[..., 3], np.asarray(alpha))


def test_colours_spread_to_the_nearer_side(tmp_path: Path) -> None:
    pixels = np.zeros((9, 65, 4), np.uint8)
    pixels[:, :8] = (200, 0, 0, 255)
    pixels[:, -8:] = (0, 0, 200, 255)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "in.png")
    row = np.asarray(read_photo(tmp_path / "in.png").rgb, int)[4]
    assert row[9, 0] > 190
    assert row[9, 2] < 10
    assert row[-10, 2] > 190
    assert row[-10, 0] < 10


def test_wholly_transparent_and_tiny_pictures(tmp_path: Path) -> None:
    for size in ((1, 1), (1, 2000), (2000, 1)):
        for alpha in (0, 255):
            source = Image.new("RGBA", size, (9, 8, 7, alpha))
            source.putpixel((0, size[1] - 1), (90, 80, 70, alpha))
            source.save(tmp_path / "in.png")
            photo = read_photo(tmp_path / "in.png")
            assert photo.rgb.getpixel((0, size[1] - 1)) == (90, 80, 70)
            result = finish_photo(photo.rgb.resize((2 * size[0], 2 * size[1])), photo)
            assert result.getchannel("A").getextrema() == (alpha, alpha)


def test_jpeg_lays_transparency_on_white_and_says_so(tmp_path: Path) -> None:
    half = Image.new("RGBA", (16, 16), (0, 0, 200, 128))
    write_photo(half, tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(Image.open(tmp_path / "a.jpg").getpixel((8, 8)), (127, 127, 227), atol=2)
    assert "white" in format_notes(half, tmp_path / "a.jpg")[0]
    assert format_notes(half, tmp_path / "a.png") == []
    half.putalpha(255)
    assert format_notes(half, tmp_path / "a.jpg") == []


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tif", ".png"])
def test_first_frame_of_several_and_said_so(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(tmp_path / f"in{suffix}", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / f"in{suffix}")
    np.testing.assert_allclose(photo.rgb.getpixel((4, 4)), (250, 0, 0), atol=3)
    assert photo.notes == ("several frames or pages: only the first is restored",)


def test_pictures_beside_a_phones_photo_are_no_frames(tmp_path: Path) -> None:
    """Phones put a depth or gain map behind the JPEG (MPO)."""
    smooth().save(tmp_path / "in.jpg", format="MPO", save_all=True, append_images=[smooth("L")])
    with Image.open(tmp_path / "in.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    assert read_photo(tmp_path / "in.jpg").notes == ()


def test_target_scale() -> None:
    assert target_scale(100, 50) == 4
    assert target_scale(100, 50, scale=2.5) == 2.5
    assert target_scale(100, 50, scale=16) == 16
    assert target_scale(100, 50, scale=1) == 1
    assert target_scale(100, 50, longest=25) == 0.25
    assert target_scale(50, 400, purpose="hd") == 4.8
    for width, height in ((333, 500), (1000, 37), (1, 2000)):
        assert round(max(width, height) * target_scale(width, height, longest=2048)) == 2048
        scale = target_scale(width, height, fit=(4001, 3001))
        fitted = (round(width * scale), round(height * scale))
        assert fitted[0] <= 4001
        assert fitted[1] <= 3001
        assert fitted[0] == 4001 or fitted[1] == 3001
    for options, words in (
        ({"scale": 0}, "`scale` cannot be 0;"),
        ({"scale": 16.1}, r"`scale` cannot be 16\.1;"),
        ({"scale": float("nan")}, "`scale` cannot be nan;"),
        ({"scale": -2}, "`scale` cannot be -2;"),
        ({"longest": 100_000}, "`longest` 100000 "),
        ({"fit": (4000, 4000)}, "`fit` 4000x4000 "),
        ({"purpose": "poster"}, "`purpose` cannot be 'poster'"),
        ({"scale": 2, "longest": 300}, "`scale` and `longest` exclude"),
    ):
        with pytest.raises(SeesrError, match=words):
            target_scale(100, 50, **options)


# ------------------------------------------------------------------------------------------------------ side by side


def test_side_by_side_keeps_to_what_a_format_holds(tmp_path: Path) -> None:
    """Beside each other; above each other where that is too long; smaller where that is, too."""
    before = Image.new("RGB", (30, 20), (200, 0, 0))
    for size, longest, sheet_size in (
        ((120, 80), None, (248, 80)),
        ((120, 80), 248, (248, 80)),
        ((120, 80), 247, (120, 168)),
        ((120, 80), 100, (69, 100)),
        ((16_000, 8), 16_383, (16_000, 24)),
        ((9, 16_000), 16_383, (26, 16_000)),
    ):
        sheet = side_by_side(before, Image.new("RGB", size, (0, 0, 200)), longest)
        assert sheet.size == sheet_size
        assert sheet.getpixel((0, 0)) == (200, 0, 0)
        assert sheet.getpixel((sheet.width - 1, sheet.height - 1)) == (0, 0, 200)
    wide = Image.new("RGB", (16_000, 2))
    write_photo(side_by_side(wide, wide, longest_side(tmp_path / "a.webp")), tmp_path / "a.webp")
    assert Image.open(tmp_path / "a.webp").size == (16_000, 12)


# ------------------------------------------------------------------------------------------------------ transparency


def test_outlines_go_through_the_enlarger_and_stay_within_what_is_near() -> None:
    y, x = np.mgrid[:24, :24]
    alpha = Image.fromarray(np.where((x - 12) ** 2 + (y - 11) ** 2 < 60, 255, 0).astype(np.uint8))

    def enlarge(picture: Image.Image) -> Image.Image:
        """Sharp, but of a wrong brightness where nothing happens."""
        larger = picture.resize((96, 96), Image.Resampling.BICUBIC)
        return larger.point(lambda value: 20 + (210 if value > 127 else 0))

    restored = np.asarray(restore_alpha(alpha, (96, 96), enlarge))
    low, high = (np.asarray(alpha.filter(kind(5)).resize((96, 96), 0)) for kind in (MinFilter, MaxFilter))
    assert set(restored[low == high]) == {0, 255}  # opaque and clear stay so
    assert set(restored[low != high]) == {20, 230}  # the outline is the enlarger's
    assert restore_alpha(alpha, (50, 50)).tobytes() == alpha.resize((50, 50), Image.Resampling.BICUBIC).tobytes()
    alpha16 = np.asarray(alpha).astype(np.uint16) * 257
    fine = restore_alpha16(alpha16, (96, 96), lambda picture: Picture16.of(enlarge(picture.rounded())))
    assert np.abs(fine / 257 - restored).max() < 1
