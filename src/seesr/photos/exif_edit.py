"""EXIF blocks and TIFF files changed, as bytes.

`edit_block` changes the entries it is told to and leaves all other bytes where they are: text keeps its encoding, and a
maker note that points into the block still points to its data.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO

from seesr.photos.exif import (
    EXIF,
    GPS,
    IMAGE,
    INTEROP,
    LONG,
    POINTERS,
    DamagedBlock,
    Layout,
    TagEntry,
    Value,
    append_directory,
    layout_of,
    numbers,
    read_directories,
    read_directory,
    reordered,
)

_EMPTY = b"MM\0*\0\0\0\x08" + b"\0" * 6  # big-endian, in which readers of comments in UTF-16 expect them
_THUMBNAIL = ((513, 514), (273, 279))  # tags of its places and lengths: JPEG, strips


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
    parts = read_directories(block, layout, start)
    wanted = {name: dict(entries) for name, entries in (put or {}).items() if entries}
    gone = {name for name, (parent, tag) in POINTERS.items() if tag in remove.get(parent, ())}
    if EXIF in gone:
        gone.add(INTEROP)

    kept_ranges, cleared = [(0, 8)], list(_thumbnail_ranges(block, layout, parts[IMAGE].following))
    kept: dict[str, list[TagEntry]] = {}
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
            place = append_directory(result, layout, entries, added)
        else:
            place = parts[name].start
            written = struct.pack(layout.order + "H", len(entries)) + b"".join(entry.raw for entry in entries)
            result[place : place + len(written)] = written
        if name == IMAGE:
            result[4:8] = layout.pack(place)
        elif name not in parts or place != parts[name].start:
            parent, tag = POINTERS[name]
            wanted.setdefault(parent, {})[tag] = Value(LONG, 1, layout.pack(place))
            kept[parent] = [entry for entry in kept.get(parent, []) if entry.tag != tag]
    return bytes(result)


def overwrite(block: bytes, name: str, put: Mapping[int, Value]) -> bytes:
    """The block with entries of directory `name` replaced where they stand; only values that fit into their entry."""
    layout, start = layout_of(block)
    part = read_directories(block, layout, start).get(name)
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
    part = read_directory(block, layout, start) if start else None
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
            kept.append(TagEntry(tag, Value(7, 0, b""), raw, 0))
    base = file.seek(0, 2)
    if base % 2:
        file.write(b"\0")
        base += 1
    result = bytearray()
    for name in (INTEROP, GPS, EXIF, IMAGE):
        if name not in parts:
            continue
        place = append_directory(result, layout, kept if name == IMAGE else [], parts[name], base)
        if name != IMAGE:
            parent, tag = POINTERS[name]
            parts.setdefault(parent, {})[tag] = Value(LONG, 1, struct.pack(layout.order + "I", place))
    if not layout.big and base + len(result) >= 2**32:
        raise ValueError("more than the 4 GB of a TIFF; use PNG")
    file.write(result)
    file.seek(8 if layout.big else 4)
    file.write(layout.pack(place))
    file.seek(0, 2)
