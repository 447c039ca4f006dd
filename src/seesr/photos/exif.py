"""EXIF blocks and the tags of TIFF files, read and changed as bytes (EXIF 3.0, TIFF 6.0, BigTIFF).

An EXIF block is a small TIFF file without pictures. `edit_block` changes the entries it is told to and leaves all other
bytes where they are: text keeps its encoding, and a maker note that points into the block still points to its data.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

IMAGE, EXIF, GPS, INTEROP = "image", "exif", "gps", "interop"
"""Names of the directories: the picture's own (IFD0) and the three that entries of others point to."""

_POINTERS = {EXIF: (IMAGE, 0x8769), GPS: (IMAGE, 0x8825), INTEROP: (EXIF, 0xA005)}  # directory: (where, which tag)
POINTER_TAGS = frozenset(tag for _, tag in _POINTERS.values())
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes swapped together
_MOST_ENTRIES = 4096
_EMPTY = b"MM\0*\0\0\0\x08" + b"\0" * 6  # big-endian, in which readers of comments in UTF-16 expect them
_THUMBNAIL = ((513, 514), (273, 279))  # tags of its places and lengths: JPEG, strips

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


class _Entry(NamedTuple):
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
    found = _walk(data, layout, start)
    return layout, {name: {entry.tag: entry.value for entry in part.entries} for name, part in found.items()}


@dataclass
class _Part:
    start: int
    end: int
    entries: list[_Entry]
    following: int  # place of the next directory, or 0


def _walk(data: Data, layout: Layout, start: int) -> dict[str, _Part]:
    first = _read_directory(data, layout, start)
    if first is None:
        raise DamagedBlock("no first directory")
    parts = {IMAGE: first}
    for name, (parent, tag) in _POINTERS.items():
        for entry in parts[parent].entries if parent in parts else ():
            if entry.tag == tag and entry.value.kind in (4, 13, 16, 18):
                place = numbers(entry.value, layout)[0]
                part = _read_directory(data, layout, int(place))
                if part and part.start not in {other.start for other in parts.values()}:
                    parts[name] = part
    return parts


def _read_directory(data: Data, layout: Layout, start: int) -> _Part | None:
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
        entries.append(_Entry(tag, Value(kind, number, held), raw, where))
    link = data[end : end + layout.field]
    following = int.from_bytes(link, "little" if layout.order == "<" else "big") if len(link) == layout.field else 0
    return _Part(start, end + len(link), entries, following)


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


# ---------------------------------------------------------------------------------------------------------- changing


def edit_block(
    block: bytes, remove: Mapping[str, Collection[int]], put: Mapping[str, Mapping[int, Value]] | None = None
) -> bytes:
    """The block with some entries gone and others put in, without its thumbnail; all else stays byte for byte.

    Args:
        block: without "Exif\\0\\0"; b"" for a new one.
        remove: tags by directory; what they hold is overwritten by zeros. A pointer's tag removes its directory.
        put: entries by directory, in the block's byte order, in place of those with the same tag.

    Raises:
        DamagedBlock: the block has no first directory.
    """
    block = block or _EMPTY
    layout, start = layout_of(block)
    if layout.big:
        raise DamagedBlock("EXIF is never a BigTIFF")
    parts = _walk(block, layout, start)
    wanted = {name: dict(entries) for name, entries in (put or {}).items() if entries}
    gone = {name for name, (parent, tag) in _POINTERS.items() if tag in remove.get(parent, ())}
    if EXIF in gone:
        gone.add(INTEROP)

    kept_ranges, cleared = [(0, 8)], list(_thumbnail_ranges(block, layout, parts[IMAGE].following))
    kept: dict[str, list[_Entry]] = {}
    for name, part in parts.items():
        dropped = set(remove.get(name, ())) | wanted.get(name, {}).keys()
        kept[name] = []
        for entry in part.entries:
            stays = name not in gone and entry.tag not in dropped
            if stays:
                kept[name].append(entry)
            if entry.place:
                (kept_ranges if stays else cleared).append((entry.place, entry.place + len(entry.value.data)))
        cleared.append((part.start, part.end))

    result = bytearray(block)
    _clear(result, cleared, kept_ranges)
    tail = [start for start, end in cleared if end >= len(result)]
    if parts[IMAGE].following and tail:  # a thumbnail at the end leaves no zeros behind
        used = max(end for _, end in [*kept_ranges, *((part.start, part.end) for part in parts.values())])
        used = max(used, min(tail))
        del result[used + used % 2 :]
    for name in (INTEROP, GPS, EXIF, IMAGE):  # those pointed to before those that point
        entries, added = kept.get(name, []), wanted.get(name, {})
        if name in gone or (name != IMAGE and not (entries or added)):
            continue
        if added or name not in parts:
            place = _append_directory(result, layout, entries, added)
        else:
            place = parts[name].start
            written = struct.pack(layout.order + "H", len(entries)) + b"".join(entry.raw for entry in entries)
            result[place : place + len(written)] = written
        if name == IMAGE:
            result[4:8] = layout.pack(place)
        elif name not in parts or place != parts[name].start:
            parent, tag = _POINTERS[name]
            wanted.setdefault(parent, {})[tag] = Value(LONG, 1, layout.pack(place))
            kept[parent] = [entry for entry in kept.get(parent, []) if entry.tag != tag]
    return bytes(result)


def overwrite(block: bytes, name: str, put: Mapping[int, Value]) -> bytes:
    """The block with entries of directory `name` replaced where they stand; only values that fit into their entry."""
    layout, start = layout_of(block)
    part = _walk(block, layout, start).get(name)
    result = bytearray(block)
    place = part.start + 2 if part else 0
    while part and place < part.end - 4:
        tag = struct.unpack(layout.order + "H", block[place : place + 2])[0]
        if tag in put:
            value = put[tag]
            head = struct.pack(layout.order + "HHI", tag, value.kind, value.number)
            result[place : place + 12] = head + value.data.ljust(4, b"\0")
        place += 12
    return bytes(result)


def _thumbnail_ranges(block: bytes, layout: Layout, start: int) -> Iterator[tuple[int, int]]:
    part = _read_directory(block, layout, start) if start else None
    if part is None:
        return
    yield part.start, part.end
    held = {entry.tag: entry.value for entry in part.entries}
    for entry in part.entries:
        if entry.place:
            yield entry.place, entry.place + len(entry.value.data)
    for places, lengths in _THUMBNAIL:
        if places in held and lengths in held:
            for place, length in zip(numbers(held[places], layout), numbers(held[lengths], layout)):
                yield int(place), int(place + length)


def _clear(result: bytearray, ranges: list[tuple[int, int]], kept: list[tuple[int, int]]) -> None:
    """Zeros into `ranges`, but not where they overlap with `kept`."""
    original = bytes(result)
    for start, end in ranges:
        start, end = max(0, start), min(len(result), end)
        if start < end:
            result[start:end] = bytes(end - start)
    for start, end in kept:
        result[start:end] = original[start:end]


def _append_directory(
    result: bytearray, layout: Layout, kept: list[_Entry], added: Mapping[int, Value], base: int = 0
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


# -------------------------------------------------------------------------------------------------------- TIFF files


def reordered(value: Value, order: str, target: str) -> Value:
    """The same value in another byte order."""
    word = _WORDS.get(value.kind, 1)
    if order == target or word == 1:
        return value
    swapped = b"".join(value.data[i : i + word][::-1] for i in range(0, len(value.data), word))
    return value._replace(data=swapped)


def extend_tiff(file: BinaryIO, order: str, added: Mapping[str, Mapping[int, Value]]) -> None:
    """Put entries into the first directory of a TIFF file that has just been written, and its subdirectories.

    Args:
        file: open for reading and writing. order: byte order of the data in `added`, which is by directory.
    """
    file.seek(0)
    head = file.read(16)
    layout, start = layout_of(head)
    file.seek(start)
    counted = file.read(8 if layout.big else 2)
    count = int.from_bytes(counted, "little" if layout.order == "<" else "big")
    width = 20 if layout.big else 12
    raws = [file.read(width) for _ in range(count)]
    parts = {
        name: {tag: reordered(value, order, layout.order) for tag, value in entries.items()}
        for name, entries in added.items()
        if entries
    }
    image = parts.setdefault(IMAGE, {})
    kept = []
    for raw in raws:
        tag = struct.unpack(layout.order + "H", raw[:2])[0]
        if tag not in image:
            kept.append(_Entry(tag, Value(7, 0, b""), raw, 0))
    base = file.seek(0, 2)
    if base % 2:
        file.write(b"\0")
        base += 1
    result = bytearray()
    for name in (INTEROP, GPS, EXIF, IMAGE):
        if name not in parts:
            continue
        place = _append_directory(result, layout, kept if name == IMAGE else [], parts[name], base)
        if name != IMAGE:
            parent, tag = _POINTERS[name]
            parts.setdefault(parent, {})[tag] = Value(LONG, 1, struct.pack(layout.order + "I", place))
    if not layout.big and base + len(result) >= 2**32:
        raise ValueError("more than the 4 GB of a TIFF; use PNG")
    file.write(result)
    file.seek(8 if layout.big else 4)
    file.write(layout.pack(place))
    file.seek(0, 2)
