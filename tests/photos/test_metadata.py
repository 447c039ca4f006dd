"""What a file tells about its photo: kept, without what is no longer true of the result."""

import struct
from pathlib import Path

import numpy as np
import pytest
from photo_files import again, smooth
from PIL import ExifTags, Image

from seesr.photos.files import WRITABLE, write_photo
from seesr.photos.photo import finish_photo, read_photo

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="Acme">'
    b"<tiff:ImageWidth>9</tiff:ImageWidth></rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("suffix", sorted(WRITABLE - {".jpeg", ".tiff"}))
@pytest.mark.parametrize("source", ["jpg", "png", "tif", "webp"])
def test_metadata_survives_without_what_is_no_longer_true(tmp_path: Path, source: str, suffix: str) -> None:
    picture, exif = smooth(), Image.Exif()
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
    smooth().save(tmp_path / "in.jpg", exif=b"Exif\0\0" + linked)
    assert Image.open(tmp_path / "in.jpg").getexif().get_ifd(ExifTags.IFD.IFD1) == {0x0100: 160}
    result = again(tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert result.getexif()[ExifTags.Base.Make] == "Acme"
    assert result.getexif().get_ifd(ExifTags.IFD.IFD1) == {}
    smooth().save(tmp_path / "in.tif", compression="tiff_lzw")
    assert read_photo(tmp_path / "in.tif").exif is None


def test_broken_exif_does_not_refuse_the_photo(tmp_path: Path) -> None:
    source = smooth()
    source.save(tmp_path / "in.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f rubbish")
    photo = read_photo(tmp_path / "in.png")
    np.testing.assert_array_equal(np.asarray(photo.rgb), np.asarray(source))
    write_photo(finish_photo(photo.rgb, photo), tmp_path / "out.jpg")


def test_metadata_too_long_for_jpeg_is_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    smooth().save(tmp_path / "in.png", exif=exif)
    assert len(again(tmp_path / "in.png", tmp_path / "out.jpg").getexif()) == 0
    assert len(again(tmp_path / "in.png", tmp_path / "out.png").getexif()[ExifTags.Base.ImageDescription]) == 70_000
