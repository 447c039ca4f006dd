"""Make photos as the web has them: reduced to some 240 pixels, and saved as JPEG once or twice.

    python benchmarks/web_photos.py ../shared/testsets/realsrset runs/realsrset-web

The quality is drawn from 30 to 75, with chroma at half the size (4:2:0), the longer side from 200 to 300 pixels; photos
that are smaller keep their size. The same seed makes the same files. For looking and voting: there is no reference.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    for file in sorted(options.photos.iterdir()):
        if file.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            continue
        photo, side = Image.open(file).convert("RGB"), int(rng.integers(200, 301))
        photo.thumbnail((side, side), Image.Resampling.LANCZOS)
        for _ in range(int(rng.integers(1, 3))):
            stored = io.BytesIO()
            photo.save(stored, "JPEG", quality=int(rng.integers(30, 76)), subsampling="4:2:0")
            photo = Image.open(stored)
        (options.output / f"{file.stem}.jpg").write_bytes(stored.getvalue())


if __name__ == "__main__":
    main()
