"""EXIF blocks and the tags of TIFF files, read as bytes (EXIF 3.0, TIFF 6.0, BigTIFF); `exif_edit` changes them.

An EXIF block is a small TIFF file without pictures.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

IMAGE, EXIF, GPS, INTEROP = "image", "exif", "gps", "interop"
"""Names of the directories: the picture's own (IFD0) and the three that entries of others point to."""

POINTERS = {EXIF: (IMAGE, 0x8769), GPS: (IMAGE, 0x8825), INTEROP: (EXIF, 0xA005)}
"""Directory → the directory that points to it, and by which tag."""
POINTER_TAGS = frozenset(tag for _, tag in POINTERS.values())
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes swapped together
_MOST_ENTRIES = 4096

ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 2, 3, 4, 5, 7


class DamagedBlock(ValueError):
    """The block is no TIFF structure."""


class Data(Protocol):
    """Bytes, or a file mapped into memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class Value(NamedTuple):
    """What an entry holds. kind: TIFF's number of the type; data: `number` values in the byte order of the block."""

    kind: int
    number: int
    data: bytes


Directory = dict[int, Value]


@dataclass(frozen=True)
class Layout:
    """Byte order ("<" or ">") and whether places have 64 bits (BigTIFF)."""

    order: str
    big: bool = False

    @property
    def field(self) -> int:
        """Bytes of a place in the file."""
        return 8 if self.big else 4

    def pack(self, number: int) -> bytes:
        """A place in the file."""
        return struct.pack(self.order + ("Q" if self.big else "I"), number)


class TagEntry(NamedTuple):
    """An entry as it was read."""

    tag: int
    value: Value
    raw: bytes  # as it stands in the directory
    place: int  # of the data, if they stand elsewhere in the block; else 0


# ---------------------------------------------------------------------------------------------------------- reading


def layout_of(data: Data) -> tuple[Layout, int]:
    """Layout of a block or file, and the place of its first directory.

    Raises:
        DamagedBlock: it does not begin as TIFF does.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[0:2])
    if order and len(data) >= 14:
        number = struct.unpack(order + "H", data[2:4])[0]
        if number == 42:
            return Layout(order), struct.unpack(order + "I", data[4:8])[0]
        if number == 43 and len(data) >= 16:
            return Layout(order, big=True), struct.unpack(order + "Q", data[8:16])[0]
    raise DamagedBlock("no TIFF structure")


def read_block(data: Data) -> tuple[Layout, dict[str, Directory]]:
    """All directories of a block or file; entries whose data lie outside of it are left out.

    Raises:
        DamagedBlock: there is no first directory.
    """
    layout, start = layout_of(data)
    found = read_directories(data, layout, start)
    return layout, {name: {entry.tag: entry.value for entry in part.entries} for name, part in found.items()}


@dataclass
class DirectoryPart:
    """A directory as it was read, and where: bytes `start` to `end`."""

    start: int
    end: int
    entries: list[TagEntry]
    following: int  # place of the next directory, or 0


def read_directories(data: Data, layout: Layout, start: int) -> dict[str, DirectoryPart]:
    """The directory at `start` and those that it points to, by name.

    Raises:
        DamagedBlock: there is none.
    """
    first = read_directory(data, layout, start)
    if first is None:
        raise DamagedBlock("no first directory")
    parts = {IMAGE: first}
    for name, (parent, tag) in POINTERS.items():
        for entry in parts[parent].entries if parent in parts else ():
            if entry.tag == tag and entry.value.kind in (4, 13, 16, 18):
                place = numbers(entry.value, layout)[0]
                part = read_directory(data, layout, int(place))
                if part and part.start not in {other.start for other in parts.values()}:
                    parts[name] = part
    return parts


def read_directory(data: Data, layout: Layout, start: int) -> DirectoryPart | None:
    """The directory at `start`, None where there can be none."""
    counted, width = (8, 20) if layout.big else (2, 12)
    if not 8 <= start <= len(data) - counted:
        return None
    count = struct.unpack(layout.order + ("Q" if layout.big else "H"), data[start : start + counted])[0]
    end = start + counted + count * width
    if count > _MOST_ENTRIES or end > len(data):
        return None
    entries = []
    for place in range(start + counted, end, width):
        raw = data[place : place + width]
        tag, kind, number = struct.unpack(layout.order + ("HHQ" if layout.big else "HHI"), raw[: -layout.field])
        length = _SIZES.get(kind, 0) * number
        if not length:
            continue
        where = 0
        if length <= layout.field:
            held = raw[-layout.field :][:length]
        else:
            where = struct.unpack(layout.order + ("Q" if layout.big else "I"), raw[-layout.field :])[0]
            if not 8 <= where <= len(data) - length:
                continue
            held = data[where : where + length]
        entries.append(TagEntry(tag, Value(kind, number, held), raw, where))
    link = data[end : end + layout.field]
    following = int.from_bytes(link, "little" if layout.order == "<" else "big") if len(link) == layout.field else 0
    return DirectoryPart(start, end + len(link), entries, following)


def numbers(value: Value, layout: Layout) -> list[float]:
    """An entry's values as numbers; rationals divided, bytes one by one."""
    code = {3: "H", 4: "I", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}.get(value.kind)
    if code:
        return list(struct.unpack(f"{layout.order}{value.number}{code}", value.data))
    if value.kind in (5, 10):
        code = "I" if value.kind == 5 else "i"
        pairs = struct.unpack(f"{layout.order}{2 * value.number}{code}", value.data)
        return [above / below if below else 0.0 for above, below in zip(pairs[::2], pairs[1::2])]
    return list(value.data)


def reordered(value: Value, order: str, target: str) -> Value:
    """The same value in another byte order."""
    word = _WORDS.get(value.kind, 1)
    if order == target or word == 1:
        return value
    swapped = b"".join(value.data[i : i + word][::-1] for i in range(0, len(value.data), word))
    return value._replace(data=swapped)


def append_directory(
    result: bytearray, layout: Layout, kept: list[TagEntry], added: Mapping[int, Value], base: int = 0
) -> int:
    """Put a directory at the end of `result`, which begins at `base` of the file; returns its place in the file."""
    result += b"\0" * (len(result) % 2)
    place = base + len(result)
    rows = {entry.tag: entry.raw for entry in kept}
    counted, width = (8, 20) if layout.big else (2, 12)
    behind = place + counted + width * len(rows.keys() | added.keys()) + layout.field
    data = b""
    for tag, value in added.items():
        head = struct.pack(layout.order + ("HHQ" if layout.big else "HHI"), tag, value.kind, value.number)
        if len(value.data) <= layout.field:
            rows[tag] = head + value.data.ljust(layout.field, b"\0")
        else:
            rows[tag] = head + layout.pack(behind + len(data))
            data += value.data + b"\0" * (len(value.data) % 2)
    result += struct.pack(layout.order + ("Q" if layout.big else "H"), len(rows))
    result += b"".join(rows[tag] for tag in sorted(rows)) + bytes(layout.field) + data
    return place
