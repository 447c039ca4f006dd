"""Every kind of file by value: colour model, depth, transparency, photometric, samples; against tifffile's arrays."""

import itertools
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from photo_files import chunk, png16, smooth
from PIL import Image

from seesr.errors import SeesrError
from seesr.photos.files import write_photo
from seesr.photos.hdr import light_to_pq
from seesr.photos.kinds import is_picture_name
from seesr.photos.photo import finish_photo, read_photo

GRAY = np.asarray(smooth("L", (24, 16)))
COLOR = np.asarray(smooth("RGB", (24, 16)))
ALPHA = np.linspace(1, 255, 24 * 16).round().astype(np.uint8).reshape(16, 24)


def stored(levels: np.ndarray, kind: str) -> np.ndarray:
    """Levels of 0..255 as samples of `kind`."""
    if kind.startswith("float"):
        return (levels / 255).astype(kind)
    return (levels.astype(np.uint64) * (np.iinfo(kind).max // 255)).astype(kind)


KINDS = ("uint8", "uint16", "uint32", "float16", "float32", "float64")
GRAYS = [
    (kind, photometric, alpha, None)
    for kind, photometric, alpha in itertools.product(KINDS, ("minisblack", "miniswhite"), (False, True))
    if (photometric, alpha) != ("miniswhite", True)
]
COLORS = [(kind, "rgb", alpha, plane) for kind in KINDS for alpha in (False, True) for plane in ("contig", "separate")]


@pytest.mark.parametrize("packed", [None, "adobe_deflate"])
@pytest.mark.parametrize(("kind", "photometric", "alpha", "plane"), GRAYS + COLORS)
def test_tiff(tmp_path: Path, kind: str, photometric: str, alpha: bool, plane: str | None, packed: str | None) -> None:
    color = photometric == "rgb"
    levels = COLOR if color else (255 - GRAY if photometric == "miniswhite" else GRAY)
    parts = [levels if color else levels[..., None], *([ALPHA[..., None]] if alpha else [])]
    values = stored(np.concatenate(parts, -1), kind)
    if plane == "separate":
        values = values.transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "a.tif",
        values if color or alpha else values[..., 0],
        photometric=photometric,
        planarconfig=plane or ("contig" if alpha else None),
        extrasamples=["unassalpha"] if alpha else None,
        compression=packed,
        metadata=None,
    )
    photo = read_photo(tmp_path / "a.tif")
    found, expected = np.asarray(photo.rgb, int), COLOR if color else np.repeat(GRAY[..., None], 3, 2)
    assert np.abs(found - expected).max() <= (1 if kind == "float16" else 0)
    assert photo.gray == (not color)
    assert (photo.alpha is not None) == alpha
    if alpha:
        assert np.abs(np.asarray(photo.alpha, int) - ALPHA).max() <= (1 if kind == "float16" else 0)
    assert photo.bits == (8 if kind == "uint8" else 16)
    assert (photo.sixteen is not None) == (kind != "uint8")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_tiff_is_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", stored(COLOR, kind), photometric="rgb", metadata=None, extratags=tags)
    turns = {1: COLOR, 2: COLOR[:, ::-1], 3: COLOR[::-1, ::-1], 4: COLOR[::-1], 5: COLOR.swapaxes(0, 1)}
    turns |= {6: np.rot90(COLOR, -1), 7: COLOR[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(COLOR)}
    np.testing.assert_array_equal(np.asarray(read_photo(tmp_path / "a.tif").rgb), turns[orientation])


def test_colour_models_of_tiff(tmp_path: Path) -> None:
    inks = np.concatenate([255 - COLOR, np.zeros((16, 24, 1), np.uint8)], -1)
    for kind in ("uint8", "uint16"):
        tifffile.imwrite(tmp_path / "a.tif", stored(inks, kind), photometric="separated", metadata=None)
        photo = read_photo(tmp_path / "a.tif")
        assert np.abs(np.asarray(photo.rgb, int) - COLOR).max() <= 1
        assert "CMYK was converted to sRGB" in photo.notes
    multiplied = (stored(COLOR, "uint16") * (ALPHA[..., None] / 255)).round().astype(np.uint16)
    values = np.concatenate([multiplied, stored(ALPHA, "uint16")[..., None]], -1)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    clear = ALPHA > 16
    assert np.abs(np.asarray(read_photo(tmp_path / "a.tif").rgb, int) - COLOR)[clear].max() <= 1
    lab = np.asarray(smooth("RGB", (24, 16)).convert("LAB"))
    fine = np.stack([lab[..., 0] * 257.0, *((lab[..., i].astype(np.int8) * 256.0) for i in (1, 2))], -1)
    tifffile.imwrite(tmp_path / "a.tif", fine.astype(np.int32).astype(np.uint16), photometric="cielab", metadata=None)
    assert np.abs(np.asarray(read_photo(tmp_path / "a.tif").rgb, int) - COLOR).mean() < 0.7  # .44, of 8-bit Lab


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (GRAY.astype(np.int16), {}, "signed samples"),
        (GRAY.astype(np.complex64), {}, "complex samples"),
        (GRAY.astype(np.uint64), {}, "64-bit samples"),
        (GRAY.astype(np.uint16), {"photometric": 32803}, "undeveloped sensor data"),
    ],
)
def test_sound_tiffs_that_are_not_read_are_named(tmp_path: Path, values: np.ndarray, options: dict, words: str) -> None:
    options = {"photometric": "minisblack", "metadata": None} | options
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(SeesrError, match=words) as caught:
        read_photo(tmp_path / "a.tif")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"8BPS\0\1", "a Photoshop document"),
        (b"v/1\x01\2\0\0\0", "an OpenEXR picture"),
        (b"#?RADIANCE\n", "a Radiance HDR picture"),
        (b"\0\0\1\0\1\0", "a Windows icon"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<?xml version='1.0'?><svg xmlns='x'>", "an SVG drawing"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x10\0\x18\1\1\x11\0", "a 12-bit JPEG"),
        (b"\xff\xd8\xff\xc3\0\x0b\x08\0\x10\0\x18\1\1\x11\0", "a lossless JPEG"),
    ],
)
def test_other_kinds_are_named(tmp_path: Path, head: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(head + bytes(64))
    with pytest.raises(SeesrError, match=words) as caught:
        read_photo(tmp_path / "a.png")
    assert "damaged" not in str(caught.value)


def with_chunks(path: Path, *chunks: bytes) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:])
    return path


@pytest.mark.parametrize("bits", [8, 16])
def test_pq_keeps_what_sdr_has_and_says_so(tmp_path: Path, bits: int) -> None:
    """A picture of 0 to 203 cd/m² in PQ with BT.709's primaries is the same picture in sRGB."""
    light = np.where(COLOR / 255 <= 0.04045, COLOR / 255 / 12.92, ((COLOR / 255 + 0.055) / 1.055) ** 2.4)
    signal = light_to_pq(light * 203)
    if bits == 8:
        Image.fromarray((signal * 255).round().astype(np.uint8)).save(tmp_path / "a.png")
    else:
        png16(tmp_path / "a.png", (signal * 65535).round().astype(np.uint16), 2)
    with_chunks(tmp_path / "a.png", chunk(b"cICP", bytes([1, 16, 0, 1])))
    photo = read_photo(tmp_path / "a.png")
    assert "HDR picture (PQ, BT.709): tone mapped to sRGB" in photo.notes[0]
    assert np.abs(np.asarray(photo.rgb, int) - COLOR).max() <= (6 if bits == 8 else 1)
    result = finish_photo(photo.rgb, photo)
    write_photo(result, tmp_path / "out.png")
    assert b"cICP" not in (tmp_path / "out.png").read_bytes()


def test_hdr_rolls_off_and_other_transfers(tmp_path: Path) -> None:
    ramp = np.linspace(0, 0.9, 256)[None, :, None].repeat(3, 2).repeat(4, 0)
    for code, name in ((16, "PQ, BT.2020"), (18, "HLG, BT.2020")):
        path = with_chunks(
            png16(tmp_path / "b.png", (ramp * 65535).astype(np.uint16), 2), chunk(b"cICP", bytes([9, code, 0, 1]))
        )
        photo = read_photo(path)
        row = np.asarray(photo.rgb, int)[0, :, 1]
        assert name in photo.notes[0]
        assert (np.diff(row) >= 0).all()
        assert 240 < row[-1] <= 255
        assert len(np.unique(row)) > 100
    smooth("RGB", (24, 16)).save(tmp_path / "g.png")
    photo = read_photo(with_chunks(tmp_path / "g.png", chunk(b"gAMA", struct.pack(">I", 100_000))))
    light = COLOR / 255
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(np.asarray(photo.rgb) - expected).max() <= 1
    assert "gamma 1 were converted" in photo.notes[0].replace("(", "").replace(")", "")


def test_jpeg_xl_there_and_back(tmp_path: Path) -> None:
    for values in (COLOR, GRAY, np.dstack([COLOR, ALPHA])):
        write_photo(Image.fromarray(values), tmp_path / "a.jxl", quality=100)
        np.testing.assert_array_equal(imagecodecs.jpegxl_decode((tmp_path / "a.jxl").read_bytes()), values)
        photo = read_photo(tmp_path / "a.jxl")
        found = np.asarray(photo.rgb.convert("L") if values.ndim == 2 else photo.rgb)
        np.testing.assert_array_equal(found, values if values.ndim == 2 else values[..., :3])
        assert photo.gray == (values.ndim == 2)
    linear = imagecodecs.jpegxl_encode(stored(COLOR, "uint16"), lossless=True)  # which marks it as linear light
    (tmp_path / "a.jxl").write_bytes(linear)
    assert "(linear, BT.709) were converted to sRGB" in read_photo(tmp_path / "a.jxl").notes[0]


def test_raw_is_developed(tmp_path: Path) -> None:
    """A DNG of a grey wall: neutral, 16 bits, with the camera's name."""
    pytest.importorskip("rawpy")
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, 0, b"Acme One\0", True),
        (271, 2, 0, b"Acme\0", True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50717, 4, 1, 65535, True),
    ]
    wall = np.full((64, 96), 13_000, np.uint16)
    tifffile.imwrite(tmp_path / "a.dng", wall, photometric=32803, metadata=None, extratags=tags)
    photo = read_photo(tmp_path / "a.dng")
    assert photo.rgb.size == (96, 64)
    assert photo.sixteen is not None
    assert "developed neutrally" in photo.notes[0]
    middle = np.asarray(photo.rgb, int)[20:40, 30:60]
    assert middle.std() < 1
    assert b"Acme\0" in photo.metadata.exif


def test_picture_names() -> None:
    assert all(is_picture_name(Path(f"a{suffix}")) for suffix in (".jxl", ".JFIF", ".psd", ".cr2", ".ico", ".png"))
    assert not any(is_picture_name(Path(name)) for name in ("out", "out.d", "a.txt", "2024.05"))
