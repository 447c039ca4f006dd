"""What a file tells of its photo beside the pixels: EXIF, XMP, IPTC, text, comments, resolution; as bytes.

`read_metadata` takes them out of a file as they stand there, `Metadata.cleaned` removes what is not true of a result,
`seesr.photos.embed` puts them into the next file.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from seesr.photos import exif, exif_edit, iptc, xmp

Strip = Literal["none", "location", "all"]
"""What of the metadata a result is to lack: nothing, where the photo was taken, or all (colour profile excepted)."""

_STORAGE_TAGS = frozenset(  # of TIFF's first directory: how one file stores its pixels, previews, raw data
    {
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 284, 288, 289),
        *(290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 333, 334),
        *(336, 337, 338, 339, 340, 341, 342, 343, 344, 345, 346, 347, 351, *range(512, 522), 529, 530, 531, 532, 559),
        *(700, 32781, 33421, 33422, 33550, 33723, 33918, 33922, 34264, 34377, 34675, 34735, 34736, 34737, 37398, 37724),
        *(42112, 42113, 50215, 50216, 50838, 50839, *range(50706, 51200), *range(51440, 51600), *range(52525, 52560)),
    }
)
_WIDTH, _HEIGHT = 0xA002, 0xA003  # PixelXDimension, PixelYDimension
_PIXEL_TAGS = frozenset({0x9102, 0x9214, 0xA20E, 0xA20F, 0xA210, 0xA214})  # rate, subject's place, sensor's pixels
_COLOR_SPACE = 0xA001
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377
_MOST_TEXT = 1 << 24  # bytes of one packed text of a PNG
_PIXEL_TEXT = (b"Thumb::", b"Raw profile type ", b"exif:Pixel", b"png:", b"tiff:")


@dataclass(frozen=True)
class Metadata:
    """As they stand in a file.

    exif: a block without "Exif\\0\\0", or b"". xmp: a packet, or b"".
    resources: Photoshop's image resources by number; `seesr.photos.iptc.RESOURCE` has the IPTC records.
    text: kinds and contents of a PNG's text chunks. comments: of a JPEG or GIF.
    dpi: (x, y), or None. orientation: EXIF's, 1 to 8. damaged: there was an EXIF block that cannot be read.
    """

    exif: bytes = b""
    xmp: bytes = b""
    resources: Mapping[int, bytes] = field(default_factory=dict)
    text: tuple[tuple[bytes, bytes], ...] = ()
    comments: tuple[bytes, ...] = ()
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    damaged: bool = False

    @property
    def iptc(self) -> bytes:
        """The IPTC records, or b""."""
        return self.resources.get(iptc.RESOURCE, b"")

    def cleaned(self, size: tuple[int, int], in_srgb: bool = False, strip: Strip = "none") -> "Metadata":
        """What is true of a result of `size` (width, height).

        Orientation, thumbnail, previews and all that tells of the stored pixels are gone; pixel counts are those of the
        result.

        Args:
            in_srgb: the colours were brought to sRGB, and the result has no profile.
            strip: what else to leave out.
        """
        if strip == "all":
            return Metadata()
        block = self.exif and _clean_exif(self.exif, size, in_srgb, strip == "location")
        packet = xmp.clean(self.xmp, self.orientation != 1, strip == "location") if self.xmp else b""
        resources = dict(self.resources)
        if strip == "location" and self.iptc:
            resources = {iptc.RESOURCE: iptc.without_location(self.iptc)}
        return replace(self, exif=block, xmp=packet, resources=resources, orientation=1)

    def with_keywords(self, words: Sequence[str]) -> "Metadata":
        """More keywords, in XMP's `dc:subject` and in the IPTC records, so that photo libraries find the picture."""
        if not words:
            return self
        records = iptc.add_keywords(self.iptc, words)
        resources = {number: data for number, data in self.resources.items() if number != 0x0425}  # the digest
        return replace(self, xmp=xmp.add_keywords(self.xmp, words), resources=resources | {iptc.RESOURCE: records})


def _clean_exif(block: bytes, size: tuple[int, int], in_srgb: bool, without_location: bool) -> bytes:
    layout, parts = exif.read_block(block)
    details = parts.get(exif.EXIF, {})
    put = {tag: exif.Value(exif.LONG, 1, layout.pack(n)) for tag, n in zip((_WIDTH, _HEIGHT), size) if tag in details}
    if in_srgb and _COLOR_SPACE in details:
        put[_COLOR_SPACE] = exif.Value(exif.SHORT, 1, struct.pack(layout.order + "H", 1))
    in_place = {tag: value for tag, value in put.items() if len(details[tag].data) <= 4}
    remove = {
        exif.IMAGE: _STORAGE_TAGS | ({0x8825} if without_location else set()),
        exif.EXIF: _PIXEL_TAGS,
        exif.INTEROP: {0x1001, 0x1002},
    }
    block = exif_edit.edit_block(block, remove, {exif.EXIF: {k: v for k, v in put.items() if k not in in_place}})
    return exif_edit.overwrite(block, exif.EXIF, in_place)


# ---------------------------------------------------------------------------------------------------------- reading


def read_metadata(data: exif.Data, format_name: str, info: Mapping[Any, Any]) -> Metadata:
    """What a file holds.

    Args:
        data: the whole file. format_name: in Pillow's words. info: of Pillow's picture, for what only it knows.
    """
    dpi = info.get("dpi")
    if format_name in ("JPEG", "MPO") and info.get("jfif_unit") not in (1, 2) and dpi == (72, 72):
        dpi = None  # Pillow's for "not known"; so is (1, 1)
    known = isinstance(dpi, tuple) and len(dpi) == 2 and min(dpi) > 1
    found = Metadata(dpi=(float(dpi[0]), float(dpi[1])) if dpi and known else None)
    match format_name:
        case "JPEG" | "MPO":
            found = _of_jpeg(data, found)
        case "PNG":
            found = _of_png(data, found)
        case "TIFF" | "RAW":
            return _of_tiff(data, found)
        case "WEBP":
            found = _of_chunks(_riff(data), found)
        case "JXL":
            found = _of_chunks(_boxes(data), found)
        case "GIF":
            comment = info.get("comment")
            found = replace(found, comments=(comment,) if isinstance(comment, bytes) else ())
        case _:
            packet = info.get("xmp") or b""
            packet = packet.encode() if isinstance(packet, str) else packet
            found = replace(found, exif=_unprefixed(info.get("exif") or b""), xmp=packet)
    return _checked(found)


def _checked(found: Metadata) -> Metadata:
    if not found.exif:
        return found
    try:
        layout, parts = exif.read_block(found.exif)
        if layout.big:
            raise exif.DamagedBlock("EXIF is never a BigTIFF")
    except exif.DamagedBlock:
        return replace(found, exif=b"", damaged=True)
    value = parts[exif.IMAGE].get(274)
    turn = int(exif.numbers(value, layout)[0]) if value else 1
    return replace(found, orientation=turn if 1 <= turn <= 8 else 1)


def _unprefixed(block: bytes) -> bytes:
    return block.removeprefix(b"Exif\0\0")


def _of_jpeg(data: exif.Data, found: Metadata) -> Metadata:
    blocks, packets, resources, comments, place = b"", list[bytes](), b"", list[bytes](), 2
    while place + 4 <= len(data):
        head = data[place : place + 4]
        if head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            break
        if head[1] in (0xFF, 0x01) or 0xD0 <= head[1] <= 0xD8:
            place += 1 if head[1] == 0xFF else 2
            continue
        size = int.from_bytes(head[2:4], "big")
        body = data[place + 4 : place + 2 + size]
        if head[1] == 0xE1 and body.startswith(b"Exif\0"):
            blocks += body[6:]
        elif head[1] == 0xE1:
            packets.append(body)
        elif head[1] == 0xED and body.startswith(iptc.PHOTOSHOP):
            resources += body.removeprefix(iptc.PHOTOSHOP)
        elif head[1] == 0xFE:
            comments.append(body)
        place += 2 + max(2, size)
    head = b"http://ns.adobe.com/xap/1.0/\0"
    packet = next((body.removeprefix(head) for body in packets if body.startswith(head)), b"")
    if packet and (extension := xmp.extension_of(packets)):
        packet = xmp.join_extension(packet, extension)
    kept = iptc.split_resources(resources)
    return replace(found, exif=blocks, xmp=packet, resources=kept, comments=tuple(comments))


def _of_png(data: exif.Data, found: Metadata) -> Metadata:
    text, place = list[tuple[bytes, bytes]](), 8
    while place + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        if place + 12 + size > len(data):
            break
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            text.append((kind, data[place + 8 : place + 8 + size]))
        elif kind == b"eXIf":
            found = replace(found, exif=_unprefixed(data[place + 8 : place + 8 + size]))
        place += 12 + size
    kept = []
    for kind, body in text:
        keyword = body.partition(b"\0")[0]
        if keyword == b"XML:com.adobe.xmp":
            found = replace(found, xmp=text_of(kind, body) or b"")
        elif keyword.startswith(b"Raw profile type "):
            found = _with_raw_profile(found, keyword[17:].lower(), text_of(kind, body) or b"")
        elif not keyword.startswith(_PIXEL_TEXT):
            kept.append((kind, body))
    return replace(found, text=tuple(kept))


def text_of(kind: bytes, body: bytes) -> bytes | None:
    """The text of a PNG's chunk, unpacked: UTF-8 in iTXt, else Latin-1; None if it is damaged or enormous."""
    _, _, rest = body.partition(b"\0")
    if kind == b"tEXt":
        return rest
    packed = kind == b"zTXt" or rest[:1] == b"\1"
    if kind == b"iTXt":
        parts = rest[2:].split(b"\0", 2)
        rest = parts[2] if len(parts) == 3 else b""
    else:
        rest = rest[1:]
    if not packed:
        return rest
    try:
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(rest, _MOST_TEXT)
        return unpacked if unpacker.eof else None
    except zlib.error:
        return None


def _with_raw_profile(found: Metadata, name: bytes, text: bytes) -> Metadata:
    """A block as ImageMagick and ExifTool put it into a PNG: its name, its length, and hexadecimal digits."""
    try:
        data = bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return found
    if name in (b"exif", b"app1") and not found.exif and data.startswith(b"Exif\0\0"):
        return replace(found, exif=data[6:])
    if name in (b"iptc", b"8bim"):
        resources = iptc.split_resources(data.removeprefix(iptc.PHOTOSHOP)) or {iptc.RESOURCE: data}
        return replace(found, resources={**resources, **found.resources})
    if name == b"xmp" and not found.xmp:
        return replace(found, xmp=data)
    return found


def _of_tiff(data: exif.Data, found: Metadata) -> Metadata:
    try:
        layout, parts = exif.read_block(data)
    except exif.DamagedBlock:
        return found
    image = parts[exif.IMAGE]
    kept = {
        name: {
            tag: exif.reordered(value, layout.order, ">")
            for tag, value in entries.items()
            if (value.kind <= 12 or value.kind == 129)
            and not (name == exif.IMAGE and tag in _STORAGE_TAGS)
            and tag not in exif.POINTER_TAGS
        }
        for name, entries in parts.items()
    }
    resources = dict[int, bytes]()
    if _TIFF_PHOTOSHOP in image:
        resources = iptc.split_resources(image[_TIFF_PHOTOSHOP].data)
    if _TIFF_IPTC in image:  # bytes, though often said to be numbers of 32 bits
        resources[iptc.RESOURCE] = image[_TIFF_IPTC].data
    value = image.get(274)
    turn = int(exif.numbers(value, layout)[0]) if value else 1
    return replace(
        found,
        exif=exif_edit.edit_block(b"", {}, kept) if any(kept.values()) else b"",
        xmp=image[_TIFF_XMP].data if _TIFF_XMP in image else b"",
        resources=resources,
        orientation=turn if 1 <= turn <= 8 else 1,
    )


def _riff(data: exif.Data) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[place : place + 8])
        if kind in (b"EXIF", b"XMP "):
            yield kind, data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _boxes(data: exif.Data) -> Iterator[tuple[bytes, bytes]]:
    """EXIF and XMP of a JPEG XL file, packed ones (brob) included."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        end = len(data) if size == 0 else place + size
        if end <= place + head - 1:
            return
        body = data[place + head : end] if kind in (b"Exif", b"xml ", b"brob") else b""
        if kind == b"brob" and body[:4] in (b"Exif", b"xml "):
            try:
                import imagecodecs

                kind, body = body[:4], bytes(imagecodecs.brotli_decode(body[4:], out=_MOST_TEXT))
            except Exception:  # damaged, or more than anyone means
                body = b""
        if kind == b"Exif" and len(body) > 4:
            yield b"EXIF", body[4 + int.from_bytes(body[:4], "big") :]
        elif kind == b"xml ":
            yield b"XMP ", body
        place = end


def _of_chunks(chunks: Iterator[tuple[bytes, bytes]], found: Metadata) -> Metadata:
    for kind, body in chunks:
        if kind == b"EXIF" and not found.exif:
            found = replace(found, exif=_unprefixed(body))
        elif kind == b"XMP " and not found.xmp:
            found = replace(found, xmp=body)
    return found
