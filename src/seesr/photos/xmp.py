"""XMP packets, changed as bytes: what is named goes or comes, everything else stays as it was (ISO 16684-1)."""

import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_PIXELS = (  # of the stored picture and of what was embedded beside it
    rb"tiff:(?:Orientation|ImageWidth|ImageLength|BitsPerSample|Compression|PhotometricInterpretation|SamplesPerPixel"
    rb"|PlanarConfiguration|YCbCr\w+|NativeDigest)|exif:(?:Pixel[XY]Dimension|CompressedBitsPerPixel|SubjectArea"
    rb"|SubjectLocation|FocalPlane\w+|NativeDigest)|xmp:Thumbnails|xmpGImg:\w+|photoshop:DocumentAncestors"
    rb"|GDepth:\w+|GImage:\w+|GAudio:\w+|GContainer:\w+|Container:\w+|Item:\w+|hdrgm:\w+|HDRGainMap:\w+|apdi:\w+"
    rb"|GCamera:(?:MotionPhoto|MicroVideo)\w*|GPano:(?:CroppedArea|FullPano|InitialView|LargestValid)\w*"
    rb"|xmpNote:HasExtendedXMP"
)
_REGIONS = rb"mwg-rs:Regions|MP:RegionInfo"  # places in the stored picture: wrong once it has been turned
_LOCATION = (
    rb"exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:(?:Location|CountryCode)|Iptc4xmpExt:Location\w+"
    rb"|drone-dji:\w*(?:Latitude|Longitude|Longtitude|Altitude)|MPRI:\w+"
)
_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
}
_LISTS = {"dc:subject": "Bag", "dc:creator": "Seq", "dc:title": "Alt", "dc:description": "Alt", "dc:rights": "Alt"}
_END = b"</rdf:RDF>"

_SEGMENT = 65_000
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"


def clean(packet: bytes, turned: bool, without_location: bool = False) -> bytes:
    """The packet without what is not true of a result: pixel counts, orientation, thumbnails, depth and gain maps.

    Args:
        turned: the picture has been turned upright, so that named regions no longer lie where they are said to.
        without_location: leave out places and coordinates as well.
    """
    names = _PIXELS + (b"|" + _REGIONS if turned else b"") + (b"|" + _LOCATION if without_location else b"")
    packet = re.sub(rb"""\s(?:%b)\s*=\s*(?:"[^"]*"|'[^']*')""" % names, b"", packet)
    kept, at, closed = [], 0, dict[bytes, int]()
    for match in re.finditer(rb"<(%b)(?=[\s/>])[^>]*>" % names, packet):
        if match.start() < at:
            continue
        end = match.end()
        if packet[end - 2 : end] != b"/>":
            closing = b"</" + match[1] + b">"
            place = closed.get(closing, 0)
            if 0 <= place < end:
                place = closed[closing] = packet.find(closing, end)
            if place < 0:  # damaged: leave it
                continue
            end = place + len(closing)
        kept.append(packet[at : match.start()])
        at = end
    return b"".join(kept) + packet[at:]


def join_extension(packet: bytes, extension: bytes) -> bytes:
    """One packet of the two that a JPEG holds where one is too long for a segment (XMP part 3, 1.1.3.1)."""
    start, end = extension.find(b"<rdf:RDF"), extension.rfind(_END)
    start = extension.find(b">", start) + 1 if start >= 0 else 0
    place = packet.rfind(_END)
    if not 0 < start <= end or place < 0:
        return packet
    return packet[:place] + extension[start:end] + packet[place:]


def jpeg_segments(packet: bytes) -> list[bytes]:
    """The APP1 contents that hold a packet of any length: one, or a short packet and its extension in parts."""
    head = b"http://ns.adobe.com/xap/1.0/\0"
    if len(packet) <= _SEGMENT:
        return [head + packet]
    extension = re.sub(rb"<\?xpacket[^>]*\?>\s*", b"", packet)
    name = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()
    short = add_properties(b"", {})
    note = b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="' + name + b'"/>'
    segments = [head + short.replace(_END, b'<rdf:Description rdf:about=""' + note + _END)]
    for start in range(0, len(extension), _SEGMENT):
        place = struct.pack(">II", len(extension), start)
        segments.append(_EXTENSION + name + place + extension[start : start + _SEGMENT])
    return segments


def extension_of(segments: Sequence[bytes]) -> bytes:
    """The extended packet in the APP1 contents of a JPEG; b"" if there is none or some of it is missing."""
    parts = dict[bytes, dict[int, bytes]]()
    lengths = dict[bytes, int]()
    for segment in segments:
        if segment.startswith(_EXTENSION) and len(segment) > 75:
            name = segment[35:67]
            lengths[name], start = struct.unpack(">II", segment[67:75])
            parts.setdefault(name, {})[start] = segment[75:]
    for name, found in parts.items():
        whole = b"".join(found[start] for start in sorted(found))
        if len(whole) == lengths[name]:
            return whole
    return b""


def add_properties(packet: bytes, properties: Mapping[str, Sequence[str]]) -> bytes:
    """The packet (b"": a new one) with properties such as "dc:title" that it does not have yet."""
    if not packet:
        packet = (
            b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
            b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>'
            b'<?xpacket end="w"?>'
        )
    place = packet.rfind(_END)
    new = {name: values for name, values in properties.items() if values and not _has(packet, name)}
    if place < 0 or not new:
        return packet
    about = re.search(rb"""rdf:about=("[^"<>]*"|'[^'<>]*')""", packet)
    spaces = sorted({name.partition(":")[0] for name in new})
    parts = [f"<rdf:Description rdf:about={about[1].decode('utf-8', 'replace') if about else chr(34) * 2}"]
    parts += [f' xmlns:{space}="{_NAMESPACES[space]}"' for space in spaces] + [">"]
    for name, values in new.items():
        kind = _LISTS.get(name)
        language = ' xml:lang="x-default"' if kind == "Alt" else ""
        items = "".join(f"<rdf:li{language}>{_text(value)}</rdf:li>" for value in values)
        inner = f"<rdf:{kind}>{items}</rdf:{kind}>" if kind else _text(values[0])
        parts.append(f"<{name}>{inner}</{name}>")
    parts.append("</rdf:Description>")
    return packet[:place] + "".join(parts).encode() + packet[place:]


def add_keywords(packet: bytes, words: Sequence[str]) -> bytes:
    """The packet with more keywords in its `dc:subject`; those that are there already are not put in twice."""
    found = re.search(rb"<dc:subject\b[^>]*>(.*?)</rdf:(?:Bag|Seq)>", packet, re.DOTALL)
    if not found:
        return add_properties(packet, {"dc:subject": words})
    items = "".join(f"<rdf:li>{_text(word)}</rdf:li>" for word in words if f">{_text(word)}<".encode() not in found[1])
    return packet[: found.end(1)] + items.encode() + packet[found.end(1) :]


def _has(packet: bytes, name: str) -> bool:
    return re.search(rb"[<\s]%b[\s=>/]" % re.escape(name.encode()), packet) is not None


def _text(value: str) -> str:
    return escape("".join(c for c in value if c in "\t\n\r" or c.isprintable() or c.isspace()))
