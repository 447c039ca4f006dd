"""What a file tells about its photo: kept byte for byte, without what is no longer true of the result."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import tifffile
from photo_files import P3, again, smooth
from PIL import ExifTags, Image, PngImagePlugin

from seesr.photos import exif, exif_edit, iptc, xmp
from seesr.photos.files import WRITABLE, format_notes, write_photo
from seesr.photos.metadata import Metadata, read_metadata
from seesr.photos.photo import finish_photo, read_photo

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="Acme">'
    b"<tiff:ImageWidth>9</tiff:ImageWidth><exif:GPSLatitude>52,31N</exif:GPSLatitude></rdf:Description></rdf:RDF>"
    b"</x:xmpmeta>"
)
TEXTS = {0x010E: "Straßenbahn, été", 0x013B: "Zoë Müller", 0x8298: "© 2001 Zoë"}
TARGETS = sorted(WRITABLE - {".jpeg", ".jpe", ".jfif", ".tiff"})


def ascii_value(text: str) -> exif.Value:
    data = text.encode() + b"\0"
    return exif.Value(exif.ASCII, len(data), data)


def utf8_block() -> bytes:
    """EXIF as cameras and photo managers write it: UTF-8 in ASCII entries, little-endian, a maker note with offsets."""
    entries, body, start = b"", b"", 8 + 2 + 12 * len(TEXTS) + 4
    for tag, text in sorted(TEXTS.items()):
        value = text.encode() + b"\0"
        entries += struct.pack("<HHII", tag, 2, len(value), start + len(body))
        body += value + b"\0" * (len(value) % 2)
    return b"II*\0" + struct.pack("<IH", 8, len(TEXTS)) + entries + struct.pack("<I", 0) + body


def iptc_records() -> bytes:
    records = ((5, b"Title"), (25, b"tram"), (25, b"red"), (90, b"Berlin"), (120, b"A caption"), (116, b"(c) me"))
    return b"".join(b"\x1c\x02" + bytes([n]) + struct.pack(">H", len(v)) + v for n, v in records)


def with_segment(path: Path, marker: int, data: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data + content[2:])


def held(path: Path) -> Metadata:
    """The metadata in a file, read without Pillow but for its resolution."""
    with Image.open(path) as image:
        return read_metadata(path.read_bytes(), image.format or "", image.info)


def restored(path: Path, out: Path, size: tuple[int, int] = (128, 96)) -> Metadata:
    photo = read_photo(path)
    write_photo(finish_photo(photo.rgb.resize(size), photo), out)
    return read_photo(out).metadata


@pytest.mark.parametrize("suffix", TARGETS)
@pytest.mark.parametrize("source", [".jpg", ".webp", ".png", ".tif"])
def test_utf8_in_exif_is_the_same_bytes_in_every_format(tmp_path: Path, source: str, suffix: str) -> None:
    smooth().save(tmp_path / f"in{source}", **({} if source == ".tif" else {"exif": b"Exif\0\0" + utf8_block()}))
    if source == ".tif":
        tags = [(tag, 2, 0, text.encode() + b"\0", True) for tag, text in TEXTS.items() if tag != 0x010E]
        description = TEXTS[0x010E].encode() + b"\0"
        pixels = tifffile.imread(tmp_path / "in.tif")
        extra = [*tags, (0x010E, 2, 0, description, True)]
        tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", metadata=None, extratags=extra)
    found = restored(tmp_path / f"in{source}", tmp_path / f"out{suffix}")
    image = exif.read_block(found.exif)[1][exif.IMAGE]
    assert {tag: image[tag].data for tag in TEXTS} == {tag: text.encode() + b"\0" for tag, text in TEXTS.items()}
    if source != ".tif" and suffix != ".tif":
        assert found.exif == utf8_block()


def full_block(order: str) -> bytes:
    """With orientation, sizes, place, thumbnail, and a maker note whose data lie outside of it."""
    note = exif.Value(exif.UNDEFINED, 24, b"note that points to 999.")

    def short(number: int) -> exif.Value:
        return exif.Value(exif.SHORT, 1, struct.pack(order + "H", number))

    start = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    block = exif_edit.edit_block(
        start + b"\0" * 6,
        {},
        {
            exif.IMAGE: {0x0112: short(6), 0x010F: ascii_value("Acme Cameras"), 0x0100: short(64)},
            exif.EXIF: {0xA002: short(64), 0xA003: short(48), 0x927C: note, 0x9003: ascii_value("2024:01:02 03:04:05")},
            exif.GPS: {1: ascii_value("N"), 2: exif.Value(5, 3, struct.pack(order + "6I", 52, 1, 31, 1, 12345, 1000))},
            exif.INTEROP: {1: ascii_value("R98")},
        },
    )
    layout, first = exif.layout_of(block)
    count = struct.unpack(order + "H", block[first : first + 2])[0]
    link = first + 2 + 12 * count
    thumbnail = struct.pack(order + "H", 2)
    thumbnail += struct.pack(order + "HHII", 513, 4, 1, len(block) + 30) + struct.pack(order + "HHII", 514, 4, 1, 20)
    return block[:link] + layout.pack(len(block)) + block[link + 4 :] + thumbnail + bytes(4) + b"THUMBNAIL OF A PHOTO"


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_changes_only_where_the_result_differs(order: str) -> None:
    block = full_block(order)
    cleaned = Metadata(exif=block, orientation=6).cleaned((256, 192)).exif
    layout, before = exif.read_block(block)
    _, after = exif.read_block(cleaned)
    for name in (exif.EXIF, exif.IMAGE, exif.GPS, exif.INTEROP):
        assert before[name].keys() - after[name].keys() == ({0x0112, 0x0100} if name == exif.IMAGE else set())
    assert [exif.numbers(after[exif.EXIF][tag], layout) for tag in (0xA002, 0xA003)] == [[256], [192]]
    assert b"THUMBNAIL" not in cleaned
    assert len(cleaned) < len(block)
    for text in (b"note that points to 999.", b"2024:01:02 03:04:05\0"):
        assert cleaned.index(text) == block.index(text)  # nothing else moves
    nowhere = Metadata(exif=block).cleaned((256, 192), strip="location").exif
    assert exif.GPS not in exif.read_block(nowhere)[1]
    assert struct.pack(order + "6I", 52, 1, 31, 1, 12345, 1000) not in nowhere


@pytest.mark.parametrize("suffix", TARGETS)
def test_all_directories_of_exif_reach_every_format(tmp_path: Path, suffix: str) -> None:
    smooth().save(tmp_path / "in.jpg", exif=b"Exif\0\0" + full_block(">"), dpi=(300, 300), quality=95)
    found = restored(tmp_path / "in.jpg", tmp_path / f"out{suffix}", (96, 128))
    layout, parts = exif.read_block(found.exif)
    assert parts[exif.IMAGE][0x010F] == ascii_value("Acme Cameras")
    assert parts[exif.EXIF][0x927C].data == b"note that points to 999."
    assert exif.numbers(parts[exif.EXIF][0xA002], layout) == [96]
    assert exif.numbers(parts[exif.GPS][2], layout) == [52, 31, 12.345]
    assert parts[exif.INTEROP][1].data == b"R98\0"
    assert found.orientation == 1
    resolution = exif.numbers(parts[exif.IMAGE][282], layout)[0] if 282 in parts[exif.IMAGE] else found.dpi[0]
    assert resolution == pytest.approx(300, abs=0.1)


def test_iptc_is_the_same_bytes_where_there_is_a_place_and_xmp_elsewhere(tmp_path: Path) -> None:
    smooth().save(tmp_path / "in.jpg", quality=95)
    resources = {iptc.RESOURCE: iptc_records(), 0x040A: b"\1", 0x040C: b"a thumbnail"}
    with_segment(tmp_path / "in.jpg", 0xED, iptc.PHOTOSHOP + iptc.join_resources(resources))
    before = tmp_path / "in.jpg"
    for suffix in (".jpg", ".tif", ".png", ".jpg"):
        found = restored(before, tmp_path / f"out{suffix}")
        assert found.resources == {iptc.RESOURCE: iptc_records(), 0x040A: b"\1"}
        before = (tmp_path / f"out{suffix}").rename(tmp_path / f"next{suffix}")
    for suffix in sorted(WRITABLE & {".webp", ".avif", ".jxl"}):
        packet = restored(before, tmp_path / f"out{suffix}").xmp.decode()
        assert '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Title</rdf:li>' in packet
        assert "<rdf:li>tram</rdf:li><rdf:li>red</rdf:li></rdf:Bag></dc:subject>" in packet
        assert "<photoshop:City>Berlin</photoshop:City>" in packet
    nowhere = Metadata(resources=resources).cleaned((8, 8), strip="location").iptc
    assert nowhere == iptc_records().replace(b"\x1c\x02\x5a\0\6Berlin", b"")


def png_chunks(path: Path) -> list[tuple[bytes, bytes]]:
    data, place, found = path.read_bytes(), 8, []
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        found.append((kind, data[place + 8 : place + 8 + size]))
        place += 12 + size
    return [(kind, body) for kind, body in found if kind in (b"tEXt", b"iTXt", b"zTXt")]


def test_png_text_is_the_same_bytes_and_travels(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a tram, Steps: 20, Seed: 1")
    text.add_itxt("Title", "Tram – été")
    text.add_text("Copyright", "(c) me", zip=True)
    text.add_text("workflow", "{}")
    smooth().save(tmp_path / "in.png", pnginfo=text)
    restored(tmp_path / "in.png", tmp_path / "out.png")
    assert png_chunks(tmp_path / "out.png") == png_chunks(tmp_path / "in.png")
    found = restored(tmp_path / "in.png", tmp_path / "out.jpg")
    assert exif.read_block(found.exif)[1][exif.EXIF][0x9286].data == b"ASCII\0\0\0a tram, Steps: 20, Seed: 1"
    assert "Tram – été</rdf:li></rdf:Alt></dc:title>" in found.xmp.decode()
    assert "(c) me</rdf:li></rdf:Alt></dc:rights>" in found.xmp.decode()
    photo = read_photo(tmp_path / "in.png")
    notes = format_notes(finish_photo(photo.rgb, photo), tmp_path / "out.jpg")
    assert notes == ["its text 'workflow' has no place in JPEG; `ext` png keeps it"]


def test_comments_and_profiles_travel(tmp_path: Path) -> None:
    smooth().save(tmp_path / "in.jpg", comment="Grüße".encode(), icc_profile=P3, quality=95)
    assert restored(tmp_path / "in.jpg", tmp_path / "out.jpg").comments == ("Grüße".encode(),)
    restored(tmp_path / "in.jpg", tmp_path / "out.png")
    assert png_chunks(tmp_path / "out.png") == [(b"tEXt", b"Comment\0" + "Grüße".encode("latin-1"))]
    block = restored(tmp_path / "in.jpg", tmp_path / "out.webp").exif
    assert exif.read_block(block)[1][exif.EXIF][0x9286].data == b"UNICODE\0" + "Grüße".encode("utf-16-be")
    assert Image.open(tmp_path / "out.webp").info["icc_profile"] == P3


def test_xmp_loses_only_what_is_no_longer_true(tmp_path: Path) -> None:
    expected = XMP.replace(b' tiff:Orientation="6"', b"").replace(b"<tiff:ImageWidth>9</tiff:ImageWidth>", b"")
    smooth().save(tmp_path / "in.jpg", xmp=XMP, quality=95)
    for suffix in TARGETS:
        assert restored(tmp_path / "in.jpg", tmp_path / f"out{suffix}").xmp == expected
    assert b"GPS" not in xmp.clean(XMP, turned=False, without_location=True)
    regions = XMP.replace(b"tiff:Make", b'mwg-rs:Regions="1" tiff:Make')
    assert b"mwg-rs" in xmp.clean(regions, turned=False)
    assert b"mwg-rs" not in xmp.clean(regions, turned=True)
    unclosed = b"<tiff:Orientation>" * 200_000
    assert xmp.clean(unclosed, turned=False) == unclosed


def test_long_xmp_is_split_in_a_jpeg_and_comes_back(tmp_path: Path) -> None:
    history = b"<xmpMM:History>" + b"edited, " * 20_000 + b"</xmpMM:History></rdf:Description>"
    packet = XMP.replace(b"</rdf:Description>", history)
    photo = replace(read_photo(_saved(tmp_path)), metadata=Metadata(xmp=packet))
    write_photo(finish_photo(photo.rgb, photo), tmp_path / "long.jpg")
    assert b"edited, " * 20_000 in held(tmp_path / "long.jpg").xmp
    assert b'tiff:Make="Acme"' in restored(tmp_path / "long.jpg", tmp_path / "out.png").xmp


def _saved(folder: Path) -> Path:
    smooth().save(folder / "plain.png")
    return folder / "plain.png"


def test_maps_beside_the_picture_are_gone_and_said_so(tmp_path: Path) -> None:
    packet = XMP.replace(b"tiff:Make", b'hdrgm:Version="1.0" hdrgm:GainMapMax="2" tiff:Make')
    smooth().save(tmp_path / "in.jpg", format="MPO", save_all=True, append_images=[smooth("L")])
    with_segment(tmp_path / "in.jpg", 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    photo = read_photo(tmp_path / "in.jpg")
    assert "gain map" in photo.notes[0]
    found = restored(tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert b"hdrgm" not in found.xmp
    assert b"MPF\0" not in (tmp_path / "out.jpg").read_bytes()


def test_raw_profiles_in_png_text_are_read(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    for name, data in (("exif", b"Exif\0\0" + utf8_block()), ("iptc", iptc.join_resources({1028: iptc_records()}))):
        text.add_text(f"Raw profile type {name}", f"\n{name}\n{len(data):8d}\n{data.hex()}\n", zip=True)
    smooth().save(tmp_path / "in.png", pnginfo=text)
    found = read_photo(tmp_path / "in.png").metadata
    assert (found.exif, found.iptc) == (utf8_block(), iptc_records())


def test_strip_all_and_keywords(tmp_path: Path) -> None:
    options: Mapping[str, object] = {"exif": b"Exif\0\0" + full_block("<"), "xmp": XMP, "comment": b"hello"}
    smooth().save(tmp_path / "in.jpg", dpi=(300, 300), icc_profile=P3, quality=95, **options)
    photo = read_photo(tmp_path / "in.jpg", strip="all")
    write_photo(finish_photo(photo.rgb, photo), tmp_path / "out.jpg")
    assert held(tmp_path / "out.jpg") == Metadata()
    assert Image.open(tmp_path / "out.jpg").info["icc_profile"] == P3
    found = Metadata(xmp=XMP, resources={iptc.RESOURCE: iptc_records()}).with_keywords(["red", "cat"])
    assert iptc.properties(found.iptc)["dc:subject"] == ["tram", "red", "cat"]
    assert b"<rdf:li>red</rdf:li><rdf:li>cat</rdf:li></rdf:Bag>" in found.xmp
    assert found.with_keywords(["cat", "Café"]).xmp.count(b">cat<") == 1


def test_broken_exif_does_not_refuse_the_photo(tmp_path: Path) -> None:
    source = smooth()
    source.save(tmp_path / "in.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f rubbish")
    photo = read_photo(tmp_path / "in.png")
    assert photo.rgb.tobytes() == source.tobytes()
    assert photo.notes == ("its EXIF data are damaged and were left out",)
    write_photo(finish_photo(photo.rgb, photo), tmp_path / "out.jpg")


def test_metadata_too_long_for_jpeg_are_left_out_and_said_so(tmp_path: Path) -> None:
    exif_data = Image.Exif()
    exif_data[ExifTags.Base.ImageDescription] = "x" * 70_000
    smooth().save(tmp_path / "in.png", exif=exif_data)
    assert len(again(tmp_path / "in.png", tmp_path / "out.jpg").getexif()) == 0
    assert len(again(tmp_path / "in.png", tmp_path / "out.png").getexif()[ExifTags.Base.ImageDescription]) == 70_000
    photo = read_photo(tmp_path / "in.png")
    assert "longer than JPEG" in format_notes(finish_photo(photo.rgb, photo), tmp_path / "out.jpg")[0]


def test_packed_text_that_explodes_is_left_out(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(1 << 25), 9)
    smooth().save(tmp_path / "in.png")
    data = (tmp_path / "in.png").read_bytes()
    body = b"zTXtRaw profile type exif\0\0" + bomb
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert read_metadata(data[:33] + chunk + data[33:], "PNG", {}) == Metadata()
