"""A test set of three tiny pairs, and a command that makes pictures."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

COPY = f'{sys.executable} -c "import sys, PIL.Image as I; I.open(sys.argv[1]).resize((32, 32)).save(sys.argv[2])"'


def make_testset(folder: Path) -> Path:
    """Three random 8x8 pictures and their 32x32 references."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        for side, size in (("lr", 8), ("hr", 32)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / side / f"{name}.png")
    return folder
