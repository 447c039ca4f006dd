"""IPTC records (IIM 4.2) and Photoshop's image resources, in which JPEG and TIFF files hold them."""

import struct
from collections.abc import Iterator, Mapping, Sequence

RESOURCE = 0x0404
"""Number of the image resource that holds the IPTC records."""
KEPT_RESOURCES = frozenset({RESOURCE, 0x040A, 0x040B, 0x0425})  # and copyright flag, address, digest of the records
PHOTOSHOP = b"Photoshop 3.0\0"

_UTF8 = b"\x1b%G"
_LOCATION = frozenset({26, 27, 90, 92, 95, 100, 101})
_KEYWORD = 25
_PROPERTIES = {
    5: "dc:title",
    _KEYWORD: "dc:subject",
    40: "photoshop:Instructions",
    80: "dc:creator",
    90: "photoshop:City",
    95: "photoshop:State",
    101: "photoshop:Country",
    103: "photoshop:TransmissionReference",
    105: "photoshop:Headline",
    110: "photoshop:Credit",
    115: "photoshop:Source",
    116: "dc:rights",
    120: "dc:description",
    122: "photoshop:CaptionWriter",
}


def split_resources(data: bytes) -> dict[int, bytes]:
    """Image resources by number, of the kept kinds; what follows damage is left out."""
    found, place = dict[int, bytes](), 0
    while data[place : place + 4] == b"8BIM" and place + 12 <= len(data):
        number, named = struct.unpack(">HB", data[place + 4 : place + 7])
        place += 6 + (named + 2) // 2 * 2  # the name with its length, padded
        if place + 4 > len(data):
            break
        size = struct.unpack(">I", data[place : place + 4])[0]
        if number in KEPT_RESOURCES and place + 4 + size <= len(data):
            found.setdefault(number, data[place + 4 : place + 4 + size])
        place += 4 + size + size % 2
    return found


def join_resources(resources: Mapping[int, bytes]) -> bytes:
    """Image resources as files hold them."""
    return b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + b"\0" * (len(data) % 2)
        for number, data in sorted(resources.items())
    )


def _records(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """(record, dataset, data, place behind it), as long as they are whole."""
    place = 0
    while data[place : place + 1] == b"\x1c" and place + 5 <= len(data):
        record, dataset, size = struct.unpack(">BBH", data[place + 1 : place + 5])
        place += 5
        if size & 0x8000:
            length = size & 0x7FFF
            size, place = int.from_bytes(data[place : place + length], "big"), place + length
        if place + size > len(data):
            return
        place += size
        yield record, dataset, data[place - size : place], place


def properties(data: bytes) -> dict[str, list[str]]:
    """The records as XMP's properties (IPTC Core 1.1), for files that have no place for IPTC."""
    found, utf8 = dict[str, list[str]](), False
    for record, dataset, value, _ in _records(data):
        if (record, dataset) == (1, 90):
            utf8 = value == _UTF8
        elif record == 2 and dataset in _PROPERTIES:
            found.setdefault(_PROPERTIES[dataset], []).append(_text(value, utf8))
    return found


def _text(value: bytes, utf8: bool) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8" if utf8 else "latin-1", "replace")


def add_keywords(data: bytes, words: Sequence[str]) -> bytes:
    """The records (b"": new ones, in UTF-8) with more keywords, each once."""
    utf8 = not data or (1, 90, _UTF8) in [row[:3] for row in _records(data)]
    encoding = "utf-8" if utf8 else "latin-1"
    end = max((place for *_, place in _records(data)), default=0)
    there = {value for record, dataset, value, _ in _records(data) if (record, dataset) == (2, _KEYWORD)}
    head = b"" if data else b"\x1c\x01\x5a\0\x03" + _UTF8
    coded = dict.fromkeys(word.encode(encoding, "replace")[:64] for word in words)
    new = b"".join(b"\x1c\x02\x19" + struct.pack(">H", len(word)) + word for word in coded if word not in there)
    return head + data[:end] + new + data[end:]


def without_location(data: bytes) -> bytes:
    """The records without city, region and country."""
    kept, start = b"", 0
    for record, dataset, _, end in _records(data):
        if record != 2 or dataset not in _LOCATION:
            kept += data[start:end]
        start = end
    return kept + data[start:]
