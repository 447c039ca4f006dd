"""Does a photo that is already sharp stay so? Validation photos as they are, at scale 1, and merely reduced, at 2, 4.

    python benchmarks/sharp.py [--model mini] [--profile fast] [--photos 12] [--size 256] [-o runs/sharp]

At scale 1 the photo itself is restored: PSNR, LPIPS and DISTS say how far the result is from it, NIQE whether it looks
better or worse than it (`photo` is the photo's own). At 2 and 4 it is reduced by Lanczos, without blur, noise or JPEG,
and brought back; `bicubic` does the same. Differences are paired, with their standard error. Writes `pictures.png`, a
row a photo: the photo, scale 1, then for 2 and 4 bicubic and restored.
"""

import argparse
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from PIL import Image

from seesr.data.samples import load_photos
from seesr.devices import choose_device, choose_dtype
from seesr.loading import load_restorer
from seesr.metrics.dists import Dists
from seesr.metrics.lpips import Lpips
from seesr.metrics.niqe import Niqe
from seesr.metrics.psnr_ssim import psnr
from seesr.photos.pictures import to_tensor

PICTURES = 6  # rows of pictures.png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--profile")
    parser.add_argument("--shards", nargs="+", default=["../shared/photos/val-0000.tar"])
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--size", type=int, default=256, help="side of the photo, a multiple of 4")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/sharp"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    device = choose_device("cpu")
    restorer: Any = load_restorer(options.model, choose_dtype("auto", device), device, options.profile)
    full_reference: dict[str, Any] = {"PSNR-Y": psnr, "LPIPS": Lpips(), "DISTS": Dists()}
    niqe = Niqe()
    values: dict[tuple[str, str], list[float]] = {}
    sheet: list[np.ndarray] = []
    for photo in load_photos(options.shards, options.size)[: options.photos]:
        top, left = ((side - options.size) // 2 for side in photo.pixels.shape[:2])
        clean = Image.fromarray(photo.pixels[top : top + options.size, left : left + options.size])
        made = {"photo": clean, "1, restored": restorer(clean, scale=1, profile=options.profile).images[0]}
        for scale in (2, 4):
            small = clean.resize((options.size // scale,) * 2, Image.Resampling.LANCZOS)
            made[f"{scale}, bicubic"] = small.resize(clean.size, Image.Resampling.BICUBIC)
            made[f"{scale}, restored"] = restorer(small, scale=scale, profile=options.profile).images[0]
        target = to_tensor(clean)
        with torch.inference_mode():
            for name, picture in made.items():
                values.setdefault((name, "NIQE"), []).append(float(niqe(to_tensor(picture))))
                for metric, measure in full_reference.items() if name != "photo" else ():
                    values.setdefault((name, metric), []).append(float(measure(to_tensor(picture), target)))
        if len(sheet) < PICTURES:
            sheet.append(np.hstack([np.asarray(picture) for picture in made.values()]))
    Image.fromarray(np.vstack(sheet)).save(options.output / "pictures.png")

    metrics = [*full_reference, "NIQE"]
    print(f"| scale | {' | '.join(metrics)} |\n|{'---|' * (len(metrics) + 1)}")
    for name in dict.fromkeys(name for name, _ in values):
        cells = []
        for metric in metrics:
            found = values.get((name, metric))
            baseline = values.get(("photo" if name == "1, restored" else name.replace("restored", "bicubic"), metric))
            cell = f"{fmean(found):.4g}" if found else ""
            if found and baseline and baseline is not found:
                differences = [a - b for a, b in zip(found, baseline)]
                cell += f" ({fmean(differences):+.2g} ± {stdev(differences) / math.sqrt(len(differences)):.1g})"
            cells.append(cell)
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
