"""Photos there and back by value: colours, profiles, transparency, depth, metadata; bad files and failing disks."""

import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from seesr.errors import SeesrError
from seesr.images import (
    WRITABLE,
    check_writable,
    finish_photo,
    format_notes,
    output_name,
    read_photo,
    target_scale,
    write_photo,
)

W, H = 12, 8

# ------------------------------------------------------------------------------------------------- pictures, by hand


def _s15f16(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04)."""
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12s4s", 0, b"lcms", 0x02400000, b"mntr", space, connection, b"", b"acsp")
    head = head.ljust(68, b"\0") + _s15f16(0.9642, 1, 0.8249)
    head = struct.pack(">I", 128 + len(table) + len(body)) + head[4:].ljust(124, b"\0")
    return head + table + body


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


WHITE = {b"wtpt": b"XYZ \0\0\0\0" + _s15f16(0.9642, 1, 0.8249)}


def _matrix_profile(red: tuple, green: tuple, blue: tuple, curve: bytes) -> bytes:
    """Of an RGB space, from the XYZ of its primaries at D50 and the curve of all three."""
    primaries = {
        name: b"XYZ \0\0\0\0" + _s15f16(*xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), (red, green, blue))
    }
    return _profile(b"RGB ", b"XYZ ", WHITE | primaries | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


P3_XYZ = (0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)
SRGB_XYZ = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)
_levels = np.linspace(0, 1, 1024)
_light = np.where(_levels <= 0.04045, _levels / 12.92, ((_levels + 0.055) / 1.055) ** 2.4)
P3 = _matrix_profile(*P3_XYZ, _gamma(2.2))
SRGB = _matrix_profile(  # as most files have it, with a sampled curve: not quite the curve of Little CMS's own
    *SRGB_XYZ, b"curv\0\0\0\0" + struct.pack(">I", 1024) + (_light * 65535).round().astype(">u2").tobytes()
)
GRAY = _profile(b"GRAY", b"XYZ ", WHITE | {b"kTRC": _gamma(1.8)})


def _cmyk_profile() -> bytes:
    """Cyan ink alone is Lab (50, 0, 0), a middle grey; any other ink is black: nothing like the usual conversion."""
    identity = bytes(range(256))
    corners = b"".join(
        bytes((255 if c == m == y == k == 0 else 128 if c and not (m or y or k) else 0, 128, 128))
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    )
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + _s15f16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return _profile(b"CMYK", b"Lab ", WHITE | {b"A2B0": lut + identity * 4 + corners + identity * 3})


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png16(path: Path, values: np.ndarray, color_type: int, *chunks: bytes) -> Path:
    """Write (h, w, channels) uint16 as a PNG of 16 bits, which Pillow cannot."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + _chunk(b"IEND", b""))
    return path


def _noise(channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (H, W, channels), dtype=np.uint8).squeeze()


def _smooth(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A soft gradient of colours, which lossy formats keep within a few levels."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    planes = np.stack([x * 200 / size[0] + 20, y * 200 / size[1] + 20, (x + y) * 1.5 + 30], -1)
    return Image.fromarray(planes.clip(0, 255).astype(np.uint8)).convert(mode)


def _again(path: Path, out: Path, **options: int) -> Image.Image:
    """Read, finish without restoring, write, open."""
    photo = read_photo(path)
    write_photo(finish_photo(photo.rgb, photo), out, **options)
    with Image.open(out) as image:
        image.load()
    return image


# ------------------------------------------------------------------------------------------------------------ colours


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1"])
def test_lossless_round_trip_keeps_every_visible_value(tmp_path: Path, mode: str, suffix: str) -> None:
    channels = {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2, "1": 1}[mode]
    source = Image.fromarray(_noise(channels), None if mode == "1" else mode).convert(mode)
    source.save(tmp_path / "in.png")
    result = _again(tmp_path / "in.png", tmp_path / f"out{suffix}", quality=100)
    if suffix != ".webp":  # which holds grey as colour
        assert result.mode == {"1": "L"}.get(mode, mode)
    expected, found = np.asarray(source.convert("RGBA")), np.asarray(result.convert("RGBA"))
    visible = expected[..., 3] > 0
    np.testing.assert_array_equal(found[..., 3], expected[..., 3])
    np.testing.assert_array_equal(found[visible], expected[visible])


@pytest.mark.parametrize("suffix", sorted(WRITABLE - {".png", ".tif", ".tiff"}))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossy_formats_stay_close_and_keep_sharp_chroma(tmp_path: Path, mode: str, suffix: str) -> None:
    source = _smooth(mode)
    if mode == "RGB" and suffix != ".webp":  # red lines one pixel wide: lost with halved chroma
        source.paste((200, 40, 40), (10, 0, 11, 48))
        source.paste((200, 40, 40), (31, 0, 32, 48))
    source.save(tmp_path / "in.png")
    result = _again(tmp_path / "in.png", tmp_path / f"out{suffix}", quality=95)
    difference = np.abs(np.asarray(result.convert("RGB"), int) - np.asarray(source.convert("RGB"), int))
    assert difference.max() <= 16
    assert difference.mean() < 2


def test_lower_quality_makes_smaller_files(tmp_path: Path) -> None:
    noise = Image.fromarray(_noise(3)).resize((96, 96))
    for suffix in sorted(WRITABLE & {".jpg", ".webp", ".avif"}):
        write_photo(noise, tmp_path / f"a{suffix}", quality=30)
        write_photo(noise, tmp_path / f"b{suffix}", quality=95)
        assert (tmp_path / f"a{suffix}").stat().st_size < 0.7 * (tmp_path / f"b{suffix}").stat().st_size
    with pytest.raises(SeesrError, match="--quality cannot be 0"):
        write_photo(noise, tmp_path / "c.jpg", quality=0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    source = _smooth()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source.save(tmp_path / f"in{suffix}", exif=exif, **({} if suffix in (".png", ".tif") else {"quality": 95}))
    source.getexif()[ExifTags.Base.Orientation] = orientation
    expected = ImageOps.exif_transpose(source)
    result = ImageOps.exif_transpose(_again(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"))
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

    result = _again(tmp_path / "in.png", tmp_path / "out.jpg", quality=100)
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
    result = _again(tmp_path / "in.png", tmp_path / "out.png")
    assert result.mode == "L"
    assert result.info["icc_profile"] == GRAY
    assert np.abs(np.asarray(result, int) - ramp).max() <= 2
    webp = _again(tmp_path / "in.png", tmp_path / "out.webp", quality=100)  # no grey there: sRGB without a profile
    assert "icc_profile" not in webp.info
    np.testing.assert_allclose(np.asarray(webp)[0, :, 0] / 255, expected, atol=3 / 255)


def test_cmyk_goes_through_its_profile_to_srgb(tmp_path: Path) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, 8:, 0] = 255  # cyan
    Image.fromarray(inks, "CMYK").save(tmp_path / "with.tif", icc_profile=_cmyk_profile())
    Image.fromarray(inks, "CMYK").save(tmp_path / "without.jpg", quality=100)
    photo = read_photo(tmp_path / "with.tif")
    np.testing.assert_allclose(photo.rgb.getpixel((2, 2)), (255, 255, 255), atol=2)
    np.testing.assert_allclose(photo.rgb.getpixel((12, 2)), (119, 119, 119), atol=3)  # L* = 50
    assert photo.icc_profile is None
    assert photo.notes == ("CMYK was converted to sRGB",)
    np.testing.assert_allclose(read_photo(tmp_path / "without.jpg").rgb.getpixel((12, 2)), (0, 255, 255), atol=3)


def test_unfit_profiles_are_ignored_and_said_so(tmp_path: Path) -> None:
    source = _noise(3)
    for name, profile in {"cmyk": _cmyk_profile(), "rubbish": b"no profile at all" * 20}.items():
        Image.fromarray(source).save(tmp_path / f"{name}.png", icc_profile=profile)
        photo = read_photo(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(np.asarray(photo.rgb), source)
        assert "profile" in photo.notes[0]
        assert finish_photo(photo.rgb, photo).info.get("icc_profile") is None


# -------------------------------------------------------------------------------------------------------------- depth


@pytest.mark.parametrize("top", [200, 65535])  # a dark 16-bit picture must stay dark
def test_sixteen_bit_gray_does_not_depend_on_its_values(tmp_path: Path, top: int) -> None:
    values = np.linspace(0, top, W * H).round().astype(np.uint16).reshape(H, W)
    expected = (values / 257).round()
    _png16(tmp_path / "a.png", values[..., None], 0)
    Image.fromarray(values).save(tmp_path / "b.tif")
    Image.fromarray(values).save(tmp_path / "c.tif", compression="tiff_lzw")
    (tmp_path / "d.pgm").write_bytes(b"P5 %d %d 65535\n" % (W, H) + values.astype(">u2").tobytes())
    for name in ("a.png", "b.tif", "c.tif", "d.pgm"):
        photo = read_photo(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(photo.rgb)[..., 0], expected)
        assert photo.gray
        assert photo.notes == ("more than 8 bits a channel: the result has 8",)


def test_float_gray_is_zero_to_one(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-1, 0, 0.25], [0.5, 1, 7]], np.float32)).save(tmp_path / "f.tif")
    np.testing.assert_array_equal(np.asarray(read_photo(tmp_path / "f.tif").rgb)[..., 1], [[0, 0, 64], [128, 255, 255]])


def test_sixteen_bit_colour_and_transparency(tmp_path: Path) -> None:
    levels = _noise(4)
    wide = levels.astype(np.uint16) * 257
    photo = read_photo(_png16(tmp_path / "rgba.png", wide, 6))
    visible = levels[..., 3] > 0
    np.testing.assert_array_equal(np.asarray(photo.rgb)[visible], levels[..., :3][visible])
    np.testing.assert_array_equal(np.asarray(photo.alpha), levels[..., 3])
    assert "8 bits" in photo.notes[0]

    photo = read_photo(_png16(tmp_path / "la.png", wide[..., :2], 4))
    assert photo.gray
    np.testing.assert_array_equal(np.asarray(photo.alpha), levels[..., 1])

    wide = np.random.default_rng(1).integers(0, 65536, (H, W, 4), dtype=np.uint16)  # low bytes unlike the high ones
    key = wide[2, 3]
    photo = read_photo(_png16(tmp_path / "key.png", wide[..., :3], 2, _chunk(b"tRNS", key[:3].astype(">u2").tobytes())))
    np.testing.assert_array_equal(np.asarray(photo.alpha) == 0, (wide[..., :3] == key[:3]).all(-1))
    photo = read_photo(
        _png16(tmp_path / "gkey.png", wide[..., :1], 0, _chunk(b"tRNS", key[:1].astype(">u2").tobytes()))
    )
    np.testing.assert_array_equal(np.asarray(photo.alpha) == 0, wide[..., 0] == key[0])


# ------------------------------------------------------------------------------------------------------- transparency


def test_palette_with_transparency(tmp_path: Path) -> None:
    indexed = Image.fromarray((_noise(1) % 4).astype(np.uint8), "P")
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


# ----------------------------------------------------------------------------------------------------------- metadata

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="Acme">'
    b"<tiff:ImageWidth>9</tiff:ImageWidth></rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("suffix", sorted(WRITABLE - {".jpeg", ".tiff"}))
@pytest.mark.parametrize("source", ["jpg", "png", "tif", "webp"])
def test_metadata_survives_without_what_is_no_longer_true(tmp_path: Path, source: str, suffix: str) -> None:
    picture, exif = _smooth(), Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    exif[ExifTags.Base.Copyright] = "(c) Nobody"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.IFD.Exif] = {0xA002: 64, 0xA003: 48, 0x9003: "2024:01:02 03:04:05", 0x829A: 0.5}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 31.0, 12.0)}
    options = {"exif": exif.tobytes(), "dpi": (300, 300)}
    if source in ("jpg", "webp"):
        options["xmp"] = XMP
    picture.save(tmp_path / f"in.{source}", **options)

    photo = read_photo(tmp_path / f"in.{source}")
    result = finish_photo(photo.rgb.resize((96, 128)), photo)
    write_photo(result, tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()
    tags = image.getexif()
    details, place = tags.get_ifd(ExifTags.IFD.Exif), tags.get_ifd(ExifTags.IFD.GPSInfo)
    assert image.size == (96, 128)
    assert (tags[ExifTags.Base.Make], tags[ExifTags.Base.Copyright]) == ("Acme", "(c) Nobody")
    assert tags.get(ExifTags.Base.Orientation, 1) == 1
    assert (details[0xA002], details[0xA003]) == (96, 128)
    assert (details[0x9003], float(details[0x829A])) == ("2024:01:02 03:04:05", 0.5)
    assert (place[1], [float(part) for part in place[2]]) == ("N", [52, 31, 12])
    if source != "webp" and suffix not in (".webp", ".avif"):  # those have no place for it but EXIF
        assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)
    if source in ("jpg", "webp"):
        xmp = image.info["xmp"]
        assert b'tiff:Make="Acme"' in xmp
        assert b"Orientation" not in xmp
        assert b"ImageWidth" not in xmp
        assert read_photo(tmp_path / f"out{suffix}").xmp == photo.xmp


def test_thumbnail_and_storage_tags_are_left_behind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    first = exif.tobytes()[6:]
    order = "<" if first[:2] == b"II" else ">"
    link = 8 + 2 + 12  # after the header and a directory of one tag: where the next directory begins
    thumbnail = struct.pack(f"{order}HHHIII", 1, 0x0100, 4, 1, 160, 0)
    linked = first[:link] + struct.pack(f"{order}I", len(first)) + first[link + 4 :] + thumbnail
    _smooth().save(tmp_path / "in.jpg", exif=b"Exif\0\0" + linked)
    assert Image.open(tmp_path / "in.jpg").getexif().get_ifd(ExifTags.IFD.IFD1) == {0x0100: 160}
    result = _again(tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert result.getexif()[ExifTags.Base.Make] == "Acme"
    assert result.getexif().get_ifd(ExifTags.IFD.IFD1) == {}
    _smooth().save(tmp_path / "in.tif", compression="tiff_lzw")
    assert read_photo(tmp_path / "in.tif").exif is None


def test_broken_exif_does_not_refuse_the_photo(tmp_path: Path) -> None:
    source = _smooth()
    source.save(tmp_path / "in.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f rubbish")
    photo = read_photo(tmp_path / "in.png")
    np.testing.assert_array_equal(np.asarray(photo.rgb), np.asarray(source))
    write_photo(finish_photo(photo.rgb, photo), tmp_path / "out.jpg")


def test_metadata_too_long_for_jpeg_is_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    _smooth().save(tmp_path / "in.png", exif=exif)
    assert len(_again(tmp_path / "in.png", tmp_path / "out.jpg").getexif()) == 0
    assert len(_again(tmp_path / "in.png", tmp_path / "out.png").getexif()[ExifTags.Base.ImageDescription]) == 70_000


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tif", ".png"])
def test_first_frame_of_several_and_said_so(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(tmp_path / f"in{suffix}", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / f"in{suffix}")
    np.testing.assert_allclose(photo.rgb.getpixel((4, 4)), (250, 0, 0), atol=3)
    assert photo.notes == ("several frames or pages: only the first is restored",)


def test_pictures_beside_a_phones_photo_are_no_frames(tmp_path: Path) -> None:
    """Phones put a depth or gain map behind the JPEG (MPO)."""
    _smooth().save(tmp_path / "in.jpg", format="MPO", save_all=True, append_images=[_smooth("L")])
    with Image.open(tmp_path / "in.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    assert read_photo(tmp_path / "in.jpg").notes == ()


# ---------------------------------------------------------------------------------------------------------- bad input


def test_wrong_extensions_are_read_by_content(tmp_path: Path) -> None:
    source = _smooth()
    source.save(tmp_path / "in.jpg", quality=95)
    (tmp_path / "in.jpg").rename(tmp_path / "in.png")
    result = _again(tmp_path / "in.png", tmp_path / "out.png")
    assert result.format == "PNG"
    assert np.abs(np.asarray(result, int) - np.asarray(source, int)).mean() < 2


def test_bad_files_get_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("This is not a picture.\n")
    (tmp_path / "fake.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (tmp_path / "folder.png").mkdir()
    for name, words in {
        "absent.png": "no such file",
        "empty.png": "is empty",
        "text.png": "not a picture, damaged",
        "script.png": "not a picture, damaged",
        "fake.heic": "pip install pillow-heif|damaged",
        "folder.png": "is a folder",
    }.items():
        with pytest.raises(SeesrError, match=words) as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_every_cut_of_every_format_is_an_error_or_a_picture(tmp_path: Path) -> None:
    """Cut short at 40 places and with bytes turned over: never anything but SeesrError."""
    rng = np.random.default_rng(0)
    source = Image.fromarray(_noise(3)).resize((40, 30))
    for suffix in sorted(WRITABLE | {".gif", ".bmp", ".ppm"}):
        whole = tmp_path / f"whole{suffix}"
        source.save(whole)
        data, bad, refused = whole.read_bytes(), tmp_path / f"bad{suffix}", 0
        for cut in np.linspace(1, len(data) * 0.9, 40).astype(int):
            bad.write_bytes(data[:cut])
            refused += _refusal(bad) is not None
        assert refused == 40, suffix
        for _ in range(40):
            spoiled = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                spoiled[place] ^= int(rng.integers(1, 256))
            bad.write_bytes(spoiled)
            assert "\n" not in (_refusal(bad) or "")


def _refusal(path: Path) -> str | None:
    try:
        read_photo(path)
        return None
    except SeesrError as error:
        return str(error)


def test_pixel_limit_and_its_override(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (60, 50)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    for bound in (2999, 1000):  # just beyond, and where Pillow itself refuses
        with pytest.raises(SeesrError, match="--max-pixels"):
            read_photo(tmp_path / "a.png", max_pixels=bound)
    assert read_photo(tmp_path / "a.png", max_pixels=3000).rgb.size == (60, 50)
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", b"") + _chunk(b"IEND", b""))
    with pytest.raises(SeesrError, match="--max-pixels"):
        read_photo(tmp_path / "bomb.png")
    assert Image.MAX_IMAGE_PIXELS == 12345
    assert not recwarn.list


# ------------------------------------------------------------------------------------------------------------ writing


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for suffix in sorted(WRITABLE):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"the old one")
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
        try:
            with pytest.raises(SeesrError, match="cannot be written"):
                write_photo(noise, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.read_bytes() == b"the old one"
    assert len(list(tmp_path.iterdir())) == len(WRITABLE)


def test_files_get_the_users_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    name = "a" * 251 + ".png"  # as long as names may be
    write_photo(Image.new("RGB", (4, 4)), tmp_path / "deep" / "er" / name)
    assert (tmp_path / "deep" / "er" / name).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_unwritable_targets_are_known_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    check_writable(tmp_path / "new" / "a.png", (200_000, 10))
    for name, size, words in (
        ("a.xyz", None, r"cannot write \.xyz"),
        ("a", None, "without suffix"),
        ("a.webp", (20_000, 10), "16383"),
        ("a.jpg", (10, 70_000), "65500"),
        ("file/a.png", None, "not a folder"),
        ("folder.png", None, "is a folder"),
    ):
        with pytest.raises(SeesrError, match=words):
            check_writable(tmp_path / name, size)


def test_output_names() -> None:
    assert output_name(Path("in/a.b.JPG")) == "a.b.JPG"
    assert output_name(Path("in/a.gif"), "_x4") == "a_x4.png"
    assert output_name(Path("a.heic"), ext="webp") == "a.webp"
    assert output_name(Path("a.png"), ext=".jpg") == "a.jpg"
    for options in ({"ext": "docx"}, {"suffix": "/../b"}):
        with pytest.raises(SeesrError, match=f"--{next(iter(options))}"):
            output_name(Path("a.png"), **options)


# ------------------------------------------------------------------------------------------------------------- scales


def test_target_scale() -> None:
    assert target_scale(100, 50) == 4
    assert target_scale(100, 50, scale=2.5) == 2.5
    assert target_scale(100, 50, scale=16) == 16
    for width, height in ((333, 500), (1000, 37), (1, 2000)):
        assert round(max(width, height) * target_scale(width, height, longest=2048)) == 2048
        scale = target_scale(width, height, fit=(4001, 3001))
        fitted = (round(width * scale), round(height * scale))
        assert fitted[0] <= 4001
        assert fitted[1] <= 3001
        assert fitted[0] == 4001 or fitted[1] == 3001
    for options, words in (
        ({"scale": 1}, "--scale 1 "),
        ({"scale": 16.1}, "--scale 16.1 "),
        ({"scale": float("nan")}, "--scale nan "),
        ({"scale": -2}, "--scale -2 "),
        ({"longest": 100}, "--to 100 "),
        ({"longest": 100_000}, "--to 100000 "),
        ({"fit": (99, 4000)}, "--fit 99x4000 "),
        ({"scale": 2, "longest": 300}, "--scale and --to exclude"),
    ):
        with pytest.raises(SeesrError, match=words):
            target_scale(100, 50, **options)
