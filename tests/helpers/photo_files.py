"""Pictures, profiles and files made by hand, for the tests of photos."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from seesr.photos.files import write_photo
from seesr.photos.photo import finish_photo, read_photo

W, H = 12, 8


def s15f16(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def icc_profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04)."""
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12s4s", 0, b"lcms", 0x02400000, b"mntr", space, connection, b"", b"acsp")
    head = head.ljust(68, b"\0") + s15f16(0.9642, 1, 0.8249)
    head = struct.pack(">I", 128 + len(table) + len(body)) + head[4:].ljust(124, b"\0")
    return head + table + body


def gamma_curve(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


WHITE = {b"wtpt": b"XYZ \0\0\0\0" + s15f16(0.9642, 1, 0.8249)}


def matrix_profile(red: tuple, green: tuple, blue: tuple, curve: bytes) -> bytes:
    """Of an RGB space, from the XYZ of its primaries at D50 and the curve of all three."""
    primaries = {
        name: b"XYZ \0\0\0\0" + s15f16(*xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), (red, green, blue))
    }
    return icc_profile(b"RGB ", b"XYZ ", WHITE | primaries | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


P3_XYZ = (0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)
SRGB_XYZ = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)
_levels = np.linspace(0, 1, 1024)
_light = np.where(_levels <= 0.04045, _levels / 12.92, ((_levels + 0.055) / 1.055) ** 2.4)
P3 = matrix_profile(*P3_XYZ, gamma_curve(2.2))
SRGB = matrix_profile(  # as most files have it, with a sampled curve: not quite the curve of Little CMS's own
    *SRGB_XYZ, b"curv\0\0\0\0" + struct.pack(">I", 1024) + (_light * 65535).round().astype(">u2").tobytes()
)
GRAY = icc_profile(b"GRAY", b"XYZ ", WHITE | {b"kTRC": gamma_curve(1.8)})


def cmyk_profile() -> bytes:
    """Cyan ink alone is Lab (50, 0, 0), a middle grey; any other ink is black: nothing like the usual conversion."""
    identity = bytes(range(256))
    corners = b"".join(
        bytes((255 if c == m == y == k == 0 else 128 if c and not (m or y or k) else 0, 128, 128))
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    )
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + s15f16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return icc_profile(b"CMYK", b"Lab ", WHITE | {b"A2B0": lut + identity * 4 + corners + identity * 3})


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(path: Path, values: np.ndarray, color_type: int, *chunks: bytes) -> Path:
    """Write (h, w, channels) uint16 as a PNG of 16 bits, which Pillow cannot."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b""))
    return path


def noise(channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (H, W, channels), dtype=np.uint8).squeeze()


def smooth(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A soft gradient of colours, which lossy formats keep within a few levels."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    planes = np.stack([x * 200 / size[0] + 20, y * 200 / size[1] + 20, (x + y) * 1.5 + 30], -1)
    return Image.fromarray(planes.clip(0, 255).astype(np.uint8)).convert(mode)


def again(path: Path, out: Path, **options: int) -> Image.Image:
    """Read, finish without restoring, write, open."""
    photo = read_photo(path)
    write_photo(finish_photo(photo.rgb, photo), out, **options)
    with Image.open(out) as image:
        image.load()
    return image
