"""Metadata into files: each block in the place its format has for it, and elsewhere where it has none.

EXIF    JPEG, PNG, WebP, AVIF, JPEG XL: a block of its own; TIFF: tags
XMP     everywhere; in a JPEG in several segments if it is long
IPTC    JPEG (APP13), TIFF (tag 33723), PNG (as ImageMagick and ExifTool do); else the same as XMP properties
text    PNG; else title, author, description and copyright as XMP, "parameters" as EXIF's user comment
comment JPEG, PNG; else EXIF's user comment
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from PIL.PngImagePlugin import PngInfo

from seesr.photos import exif, exif_edit, iptc, xmp
from seesr.photos.metadata import Metadata, text_of

_IPTC_PLACES = ("JPEG", "PNG", "TIFF")
_TEXT_PROPERTIES = {
    "Title": "dc:title",
    "Author": "dc:creator",
    "Description": "dc:description",
    "Copyright": "dc:rights",
    "Software": "xmp:CreatorTool",
}
_USER_COMMENT, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x9286, 282, 283, 296
_SEGMENT = 65_000  # bytes of EXIF or IPTC; a JPEG segment ends at 65 535 with its header


def fit(found: Metadata, format_name: str) -> tuple[Metadata, list[str]]:
    """The metadata as a file of that format can hold them, and what the user should know of the rest."""
    notes = list[str]()
    properties = dict[str, list[str]]()
    comments = list[str]()
    if format_name not in _IPTC_PLACES and found.resources:
        properties |= iptc.properties(found.iptc)
        found = replace(found, resources={})
    if format_name != "PNG":
        for keyword, text in texts(found):
            if keyword in _TEXT_PROPERTIES:
                properties.setdefault(_TEXT_PROPERTIES[keyword], [text])
            elif keyword in ("parameters", "Comment"):
                comments.append(text)
            else:
                notes.append(f"its text {keyword!r} has no place in {_name(format_name)}; `ext` png keeps it")
        found = replace(found, text=())
    if format_name not in ("JPEG", "PNG"):
        comments += [comment.decode("utf-8", "replace") for comment in found.comments]
        found = replace(found, comments=())
    if properties:
        found = replace(found, xmp=xmp.add_properties(found.xmp, properties))
    found, left = _with_exif(found, comments, format_name in ("WEBP", "AVIF", "JXL"))
    if left:
        notes.append(f"its comments have no place in {_name(format_name)}; `ext` png keeps them")
    if format_name == "JPEG":
        if len(found.exif) > _SEGMENT:
            found = replace(found, exif=b"")
            notes.append("its EXIF data are longer than JPEG can hold and were left out; `ext` png keeps them")
        if len(iptc.join_resources(found.resources)) > _SEGMENT:
            found = replace(found, resources={})
            notes.append("its IPTC data are longer than JPEG can hold and were left out; `ext` png keeps them")
    return found, notes


def _name(format_name: str) -> str:
    return {"WEBP": "WebP", "JXL": "JPEG XL"}.get(format_name, format_name)


def texts(found: Metadata) -> Iterator[tuple[str, str]]:
    """Keywords and texts of a PNG."""
    for kind, body in found.text:
        text = text_of(kind, body)
        if text is not None:
            coding = "utf-8" if kind == b"iTXt" else "latin-1"
            yield body.partition(b"\0")[0].decode("latin-1"), text.decode(coding, "replace")


def _with_exif(found: Metadata, comments: list[str], needs_dpi: bool) -> tuple[Metadata, bool]:
    """With a user comment and a resolution, where EXIF has none yet; whether comments are left over."""
    order, parts = ">", dict[str, exif.Directory]()
    if found.exif:
        layout, parts = exif.read_block(found.exif)
        order = layout.order
    image, details = dict[int, exif.Value](), dict[int, exif.Value]()
    if needs_dpi and found.dpi and _X_RESOLUTION not in parts.get(exif.IMAGE, {}):
        for tag, value in zip((_X_RESOLUTION, _Y_RESOLUTION), found.dpi):
            image[tag] = exif.Value(
                exif.RATIONAL, 1, struct.pack(order + "II", min(round(value * 1000), 2**32 - 1), 1000)
            )
        image[_RESOLUTION_UNIT] = exif.Value(exif.SHORT, 1, struct.pack(order + "H", 2))
    there = parts.get(exif.EXIF, {}).get(_USER_COMMENT)
    taken = there is not None and there.data[8:].strip(b"\0 ")
    if comments and not taken:
        text = comments.pop(0)
        coded = (
            b"ASCII\0\0\0" + text.encode()
            if text.isascii()
            else b"UNICODE\0" + text.encode("utf-16-be" if order == ">" else "utf-16-le", "replace")
        )
        details[_USER_COMMENT] = exif.Value(exif.UNDEFINED, len(coded), coded)
    if image or details:
        found = replace(found, exif=exif_edit.edit_block(found.exif, {}, {exif.IMAGE: image, exif.EXIF: details}))
    return found, bool(comments)


# ------------------------------------------------------------------------------------------------------ into files


def pillow_options(found: Metadata, format_name: str) -> dict[str, Any]:
    """What Pillow's writer takes; `found` as `fit` has made it. TIFF's are put in afterwards, by `into_tiff`."""
    options: dict[str, Any] = {}
    if found.dpi and format_name not in ("WEBP", "AVIF"):
        options["dpi"] = found.dpi
    block = b"Exif\0\0" + found.exif if found.exif else b""
    match format_name:
        case "JPEG":
            segments = [(0xE1, segment) for segment in xmp.jpeg_segments(found.xmp)] if found.xmp else []
            if found.resources:
                segments.append((0xED, iptc.PHOTOSHOP + iptc.join_resources(found.resources)))
            segments += [(0xFE, comment) for comment in found.comments]
            options["extra"] = b"".join(
                struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments
            )
            options["exif"] = block
        case "PNG":
            options["pnginfo"] = PngInfo()
            for kind, body in png_texts(found):
                options["pnginfo"].add(kind, body)
            options["exif"] = block
        case "WEBP" | "AVIF":
            options |= {"exif": block, "xmp": found.xmp}
    return {name: value for name, value in options.items() if value}


def png_texts(found: Metadata) -> list[tuple[bytes, bytes]]:
    """Kinds and contents of a PNG's text chunks."""
    chunks = list(found.text)
    if found.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + found.xmp))
    if found.resources:
        data = iptc.join_resources(found.resources)
        digits = data.hex()
        lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
        profile = f"\niptc\n{len(data):8d}\n{lines}\n".encode()
        chunks.append((b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile)))
    for comment in found.comments:
        try:
            text = comment.decode().encode("latin-1")
            chunks.append((b"tEXt", b"Comment\0" + text.replace(b"\0", b"")))
        except UnicodeDecodeError:
            chunks.append((b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")))
        except UnicodeEncodeError:
            chunks.append((b"iTXt", b"Comment\0\0\0\0\0" + comment))
    return chunks


def into_png(packed: bytes, found: Metadata, profile: bytes | None) -> bytes:
    """A PNG that has none with the metadata, all but the profile's gamma before its pixels."""
    chunks = list[tuple[bytes, bytes]]()
    if profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if found.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(min(round(dpi / 0.0254), 2**31 - 1) for dpi in found.dpi), 1)))
    if found.exif:
        chunks.append((b"eXIf", found.exif))
    chunks += png_texts(found)
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return packed[:33] + made + packed[33:]


def into_tiff(file: BinaryIO, found: Metadata) -> None:
    """Put the metadata into a TIFF file that has just been written and is open for reading, too."""
    order, parts = ">", dict[str, exif.Directory]()
    if found.exif:
        layout, parts = exif.read_block(found.exif)
        order = layout.order
    own = {282, 283, 296} if found.dpi else set()  # the writer has put these
    added = {name: dict(entries) for name, entries in parts.items()}
    image = {tag: value for tag, value in added.get(exif.IMAGE, {}).items() if tag not in own | exif.POINTER_TAGS}
    for tag, data, kind in ((700, found.xmp, 1), (33723, found.iptc, exif.UNDEFINED)):
        if data:
            image[tag] = exif.Value(kind, len(data), data)
    if set(found.resources) - {iptc.RESOURCE}:
        data = iptc.join_resources(found.resources)
        image[34377] = exif.Value(1, len(data), data)
    added[exif.IMAGE] = image
    if exif.EXIF in added:
        added[exif.EXIF].pop(0xA005, None)
    if any(added.values()):
        exif_edit.extend_tiff(file, order, added)
