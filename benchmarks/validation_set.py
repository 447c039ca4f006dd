"""Make validation pairs from the held-out photos, degraded by one preset: what decisions on weights are measured on.

    python benchmarks/validation_set.py web runs/validation/web          # as pages and messengers leave photos
    python benchmarks/validation_set.py phone runs/validation/phone      # the noise of small sensors

Writes `lr` (a quarter of the size) and `hr`, PNG, under equal names; the same call makes the same files. The photos are
whole, with their soft and flat parts, and in no training shard.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from seesr.data.samples import load_photos
from seesr.degradation import PRESETS, Degradation, preset
from seesr.photos.pictures import to_pil


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("output", type=Path)
    parser.add_argument("--photos", nargs="+", default=["../shared/photos/val-0000.tar"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    degrade = Degradation(preset(options.preset))
    for name in ("lr", "hr"):
        (options.output / name).mkdir(parents=True, exist_ok=True)
    for number, photo in enumerate(load_photos(options.photos, 4)):
        height, width = (side - side % 4 for side in photo.pixels.shape[:2])
        clean = torch.tensor(photo.pixels[:height, :width]).permute(2, 0, 1)[None].float() / 255
        lr, _ = degrade(clean, torch.tensor([1000 * options.seed + number]))
        to_pil(lr).save(options.output / "lr" / f"{number:04d}.png")
        Image.fromarray(photo.pixels[:height, :width]).save(options.output / "hr" / f"{number:04d}.png")


if __name__ == "__main__":
    main()
