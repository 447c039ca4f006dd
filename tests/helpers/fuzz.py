"""Damaged files of every format, from a seed: what reads them may refuse them, and nothing else.

`python tests/helpers/fuzz.py 3000` tries so many and prints what became of them; the tests try 300.
"""

import signal
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from seesr.errors import SeesrError
from seesr.photos.files import WRITABLE, write_photo
from seesr.photos.photo import finish_photo, read_photo

SECONDS = 20
"""A file that takes longer to read and write than this hangs."""


def seeds() -> list[tuple[str, bytes]]:
    """Small sound files of every format that can be made here: (suffix, content)."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (9, 12, 4), dtype=np.uint8), "RGBA")
    picture = noise.resize((48, 36), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[271], exif[0x8769], exif[0x8825] = "Acme", {0xA002: 48, 0x9003: "2024:01:02 03:04:05"}, {1: "N"}
    block = exif.tobytes()
    found = []
    for suffix, mode, options in (
        (".jpg", "RGB", {"exif": block, "xmp": b"<x:xmpmeta><rdf:RDF></rdf:RDF></x:xmpmeta>", "comment": b"hello"}),
        (".jpg", "CMYK", {}),
        (".jpg", "L", {"progressive": True}),
        (".png", "RGBA", {"exif": block}),
        (".png", "P", {}),
        (".png", "1", {}),
        (".tif", "RGB", {"compression": "tiff_lzw"}),
        (".tif", "L", {"exif": block}),
        (".webp", "RGBA", {"exif": block}),
        (".webp", "RGB", {"lossless": True}),
        (".avif", "RGB", {}),
        (".gif", "P", {}),
        (".bmp", "RGB", {}),
        (".ppm", "RGB", {}),
        (".jp2", "RGB", {}),
        (".tga", "RGBA", {}),
    ):
        buffer = BytesIO()
        format_name = Image.registered_extensions()[suffix]
        if format_name in Image.SAVE:
            picture.convert(mode).save(buffer, format_name, **options)
            found.append((suffix, buffer.getvalue()))
    fine = np.asarray(picture).astype(np.uint16) * 257
    try:
        import imagecodecs
        import tifffile

        found.append((".png", bytes(imagecodecs.png_encode(fine))))
        found.append((".jxl", bytes(imagecodecs.jpegxl_encode(np.asarray(picture), usecontainer=True))))
        for values, options in (
            (fine[..., :3], {"photometric": "rgb", "compression": "adobe_deflate", "predictor": True}),
            (fine[..., :3].transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}),
            (fine[..., 0] / np.float32(65535), {"photometric": "miniswhite"}),
            (fine[..., 0], {"photometric": "minisblack", "bigtiff": True}),
        ):
            buffer = BytesIO()
            tifffile.imwrite(buffer, values, metadata=None, **options)
            found.append((".tif", buffer.getvalue()))
    except ImportError:
        pass
    return found


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four of: bits turned over, cut short, a length or number changed, parts swapped, doubled or taken out."""
    spoiled = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, len(spoiled)))
        if rng.random() < 0.5:  # most of what can go wrong stands at the beginning
            place %= 256
            place %= len(spoiled)
        match int(rng.integers(0, 6)):
            case 0:
                spoiled[place] ^= 1 << int(rng.integers(0, 8))
            case 1:
                del spoiled[max(1, int(rng.integers(0, len(spoiled)))) :]
            case 2:
                number = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF]))
                spoiled[place : place + 4] = struct.pack(str(rng.choice(["<I", ">I"])), number)
            case 3:
                size, other = int(rng.integers(1, 64)), int(rng.integers(0, len(spoiled)))
                first, second = spoiled[place : place + size], spoiled[other : other + size]
                spoiled[place : place + size], spoiled[other : other + size] = second, first
            case 4:
                spoiled[place:place] = spoiled[place : place + int(rng.integers(1, 64))]
            case _:
                del spoiled[place : place + int(rng.integers(1, 16))]
        if not spoiled:
            return b""
    return _with_true_sums(bytes(spoiled)) if rng.random() < 0.7 else bytes(spoiled)


def _with_true_sums(data: bytes) -> bytes:
    """A PNG's checksums made right again, so that what lies behind them is tried, too."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    made, place = data[:8], 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            break
        made += data[place:end] + zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return made + data[place:]


def outcomes(count: int, folder: Path, seed: int = 0) -> Iterator[tuple[str, str]]:
    """(suffix, "read" or "refused") of `count` damaged files, written again where they could be read.

    Raises:
        AssertionError: anything but a picture or one line, a file left over, or more than `SECONDS`.
    """
    rng, sound = np.random.default_rng(seed), seeds()
    targets = sorted(WRITABLE)

    def too_long(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, too_long)
    try:
        for i in range(count):
            suffix, data = sound[i % len(sound)]
            source, out = folder / f"in{suffix}", folder / "out"
            source.write_bytes(mutate(data, rng))
            target = out / f"a{targets[i % len(targets)]}"
            signal.alarm(SECONDS)
            try:
                photo = read_photo(source, max_pixels=1_000_000)
                write_photo(finish_photo(photo.rgb, photo), target)
                kind = "read"
            except SeesrError as error:
                kind = "refused" if "\n" not in str(error) else f"several lines: {error}"
            except Exception as error:
                raise AssertionError(f"file {i} of seed {seed} ({suffix}): {type(error).__name__}: {error}") from error
            finally:
                signal.alarm(0)
            assert kind in ("read", "refused"), (i, kind)
            left = [path.name for path in out.iterdir()] if out.exists() else []
            assert left == ([target.name] if kind == "read" else []), (i, left)
            target.unlink(missing_ok=True)
            source.unlink()
            yield suffix, kind
    finally:
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        counts = Counter(outcomes(int(sys.argv[1]), Path(temporary), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
    for (suffix, kind), number in sorted(counts.items()):
        print(f"{suffix:6} {kind:8} {number:5}")
