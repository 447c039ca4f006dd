"""JPEG XL (ISO/IEC 18181): pixels by imagecodecs (extra `jxl`); header and boxes, which it does not show, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from seesr.photos.exif import Data
from seesr.photos.hdr import Transfer

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_HEADER = 4096  # bytes of the codestream within which its header ends


class _Bits:
    """Bits of a codestream, least significant first, as its header's fields are coded (18181-1, annex B)."""

    def __init__(self, data: bytes) -> None:
        self.number, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def u(self, count: int) -> int:
        if count > self.left:
            raise ValueError("its header is cut short")
        value = self.number & ((1 << count) - 1)
        self.number >>= count
        self.left -= count
        return value

    def u32(self, *choices: tuple[int, int]) -> int:
        base, count = choices[self.u(2)]
        return base + self.u(count)

    def enum(self) -> int:
        return self.u32((0, 0), (1, 0), (2, 4), (18, 6))


def _codestream(data: Data) -> bytes:
    """The start of the codestream, out of its boxes if it is in some."""
    if data[0:12] != _CONTAINER:
        return data[0:_HEADER]
    place, stream = 0, b""
    while place + 8 <= len(data) and len(stream) < _HEADER:
        size, kind, head = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        end = len(data) if size == 0 else place + size
        if end < place + head:
            break
        if kind in (b"jxlc", b"jxlp"):
            start = place + head + (4 if kind == b"jxlp" else 0)
            stream += data[start : min(end, start + _HEADER)]
        place = end
    return stream


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.u(1)

    def side() -> int:
        return (bits.u(5) + 1) * 8 if small else bits.u32((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.u(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio]
    return height * across // down, height


def _depth(bits: _Bits) -> None:
    if bits.u(1):
        bits.u32((32, 0), (16, 0), (24, 0), (1, 6))
        bits.u(4)
    else:
        bits.u32((8, 0), (10, 0), (12, 0), (1, 6))


def read_header(data: Data) -> tuple[tuple[int, int], Transfer | None, bool]:
    """(width, height) as stored; what the levels mean, None for sRGB; whether there is an ICC profile instead.

    Raises:
        ValueError: it is damaged.
    """
    stream = _codestream(data)
    if stream[:2] != b"\xff\x0a":
        raise ValueError("it has no codestream")
    bits = _Bits(stream[2:])
    size = _size(bits)
    if bits.u(1):  # all by default
        return size, None, False
    if bits.u(1):
        bits.u(3)
        if bits.u(1):
            _size(bits)
        if bits.u(1) or bits.u(1):  # a preview or an animation: its colours stand too far behind
            return size, None, False
    _depth(bits)
    bits.u(1)
    for _ in range(bits.u32((0, 0), (1, 0), (2, 4), (1, 12))):
        if bits.u(1):
            continue
        kind = bits.enum()
        _depth(bits)
        bits.u32((0, 0), (3, 0), (4, 0), (1, 3))
        for _ in range(bits.u32((0, 0), (0, 4), (16, 5), (48, 10))):
            bits.u(8)
        if kind == 0:
            bits.u(1)
        elif kind == 2:
            bits.u(64)
        elif kind == 5:
            bits.u32((1, 0), (0, 2), (3, 4), (19, 8))
    bits.u(1)
    if bits.u(1):
        return size, None, False
    profile, space = bits.u(1), bits.enum()
    if profile or space > 1:
        return size, None, True
    primaries = 1
    if bits.enum() == 2:
        return size, Transfer(primaries=0), False
    if space == 0:
        primaries = bits.enum()
    if primaries == 2:
        return size, Transfer(primaries=0), False
    if bits.u(1):
        return size, Transfer(gamma=10_000_000 / max(1, bits.u(24))), False
    transfer = bits.enum()
    primaries = {11: 12}.get(primaries, primaries)
    return size, None if (primaries, transfer) in ((1, 13), (1, 1)) else Transfer(primaries, transfer), False


def read_jxl(
    data: Data, check: Callable[[tuple[int, int]], None]
) -> tuple[npt.NDArray[Any], bytes | None, Transfer | None, list[str]]:
    """(h, w, channels) of the first frame, uint8 or uint16, upright; no profile; what its levels mean; notes.

    Args:
        check: is given (width, height) before anything is unpacked.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    import imagecodecs

    size, transfer, profile = read_header(data)
    check(size)
    values = np.asarray(imagecodecs.jpegxl_decode(data[0 : len(data)], index=0))
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] > 4:
        raise ValueError(f"{values.shape} are no picture's pixels")
    if values.dtype.kind == "f":
        values = (np.nan_to_num(values.astype(np.float64)).clip(0, 1) * 65535).round().astype(np.uint16)
    notes = ["its colour profile cannot be read: its colours were taken for sRGB"] if profile else []
    return values, None, transfer, notes


def write_jxl(values: npt.NDArray[Any], quality: int, exif: bytes, xmp: bytes) -> bytes:
    """A JPEG XL file of (h, w[, channels]), uint8 or uint16, in sRGB; lossless at quality 100."""
    import imagecodecs

    distance = 0.1 + (100 - quality) * 0.09 if quality >= 30 else 53 / 3000 * quality**2 - 23 / 20 * quality + 25
    options: dict[str, Any] = {"lossless": True} if quality == 100 else {"distance": distance}
    packed = bytes(imagecodecs.jpegxl_encode(np.ascontiguousarray(values), usecontainer=True, **options))
    for kind, body in ((b"Exif", b"\0\0\0\0" + exif if exif else b""), (b"xml ", xmp)):
        if body:
            packed += (8 + len(body)).to_bytes(4, "big") + kind + body
    return packed
