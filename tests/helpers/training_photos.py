"""Photos of noise for the tests of training data: as files, as shards, as folders."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def picture(seed: int, size: int = 40) -> bytes:
    """A PNG of noise, `size` + 8 pixels wide and `size` high."""
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size + 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> Path:
    """A tar file of these files."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def folder_of(path: Path, count: int, size: int = 40) -> Path:
    """A folder of so many pictures, 00.png and so on."""
    path.mkdir()
    for number in range(count):
        (path / f"{number:02d}.png").write_bytes(picture(number, size))
    return path


def same(one: dict, other: dict) -> bool:
    """Whether two samples are equal, tensors by value."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[k], other[k]) if isinstance(one[k], torch.Tensor) else one[k] == other[k] for k in one)
