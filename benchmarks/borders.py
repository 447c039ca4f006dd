"""The outermost pixels of degraded photos with and without the photo mirrored beyond its border, by how flat a side is.

    python benchmarks/borders.py VALIDATION_SET [--photos 14]

VALIDATION_SET: a folder of `benchmarks/validation_set.py`. The upper left 96 x 96 pixels of each photo are enlarged by
the embedded model. A row: mean error of 16 pixels of the result along a side, in levels of 255, over the sides with
such a share of flat windows (see `seesr.models.flat_sides`).
"""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seesr.checkpoints.registry import resolve
from seesr.models.enlargers import load_enlarger
from seesr.models.flat_sides import REACH, flat_share, sides
from seesr.photos.pictures import to_tensor

SIDE = 96
BORDER = 16
SHARES = (0.0, 0.2, 0.5, 0.9, 1.01)


def errors(restored: Tensor, clean: Tensor) -> list[float]:
    """Mean error along the left, right, upper and lower side."""
    return [float(part.mean()) for part in sides((restored - clean).abs() * 255, BORDER)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=14)
    options = parser.parse_args()
    network = load_enlarger(resolve("mini") / "enlarger")
    torch.set_grad_enabled(False)
    rows: list[tuple[float, float, float]] = []
    for path in sorted((options.folder / "lr").iterdir())[: options.photos]:
        photo = to_tensor(Image.open(path).convert("RGB"))[..., :SIDE, :SIDE]
        clean = to_tensor(Image.open(options.folder / "hr" / path.name).convert("RGB"))[..., : 4 * SIDE, : 4 * SIDE]
        mirrored = network(F.pad(photo, [REACH] * 4, mode="reflect")).clamp(0, 1)
        edge = 4 * REACH
        found = errors(network(photo).clamp(0, 1), clean), errors(mirrored[..., edge:-edge, edge:-edge], clean)
        rows += zip((flat_share(side) for side in sides(photo)), *found)
    print("share of flat windows   sides   as it is   mirrored")
    for low, high in pairwise(SHARES):
        some = [row for row in rows if low <= row[0] < high]
        if some:
            plain, mirrored_error = fmean(row[1] for row in some), fmean(row[2] for row in some)
            print(f"{low:.1f} to {min(high, 1):.1f} {len(some):17}   {plain:8.2f}   {mirrored_error:8.2f}")


if __name__ == "__main__":
    main()
