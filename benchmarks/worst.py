"""Which photos come out worst, and is it the photo or its degradation? All validation photos, all three presets.

    python benchmarks/worst.py [--model mini] [--profile fast] [--photos 64] [-o runs/worst]

Prints the mean of each preset and of the photos' thirds by what a plain reduction to a quarter and back loses (`fine
detail`), the share of the variance of LPIPS that preset and photo explain, and the worst pictures. Writes `values.csv`
and `pictures.png`: the worst twelve, each bicubic, restored, original.
"""

import argparse
import csv
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from seesr.data.samples import load_photos
from seesr.degradation import Degradation, preset
from seesr.devices import choose_device, choose_dtype
from seesr.loading import load_restorer
from seesr.metrics.dists import Dists
from seesr.metrics.lpips import Lpips
from seesr.metrics.psnr_ssim import psnr
from seesr.photos.pictures import to_pil, to_tensor

PRESETS = ("camera", "mild", "real-esrgan")
SIDE = 256  # the middle of the photo
WORST = 12


class Result(NamedTuple):
    photo: int
    preset: str
    detail: float  # RMS of what is lost by reduction to a quarter, in levels of 255
    psnr: float
    lpips: float
    dists: float
    pictures: np.ndarray  # bicubic, restored, original


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--profile")
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--shards", nargs="+", default=["../shared/photos/val-0000.tar"])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/worst"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    device = choose_device("cpu")
    restorer: Any = load_restorer(options.model, choose_dtype("auto", device), device, options.profile)
    lpips, dists = Lpips(), Dists()

    found: list[Result] = []
    for number, photo in enumerate(load_photos(options.shards, SIDE)[: options.photos]):
        top, left = ((side - SIDE) // 2 for side in photo.pixels.shape[:2])
        original = Image.fromarray(photo.pixels[top : top + SIDE, left : left + SIDE])
        clean = to_tensor(original)
        small = original.resize((SIDE // 4, SIDE // 4), Image.Resampling.LANCZOS)
        lost = to_tensor(small.resize(original.size, Image.Resampling.BICUBIC)) - clean
        for name in PRESETS:
            lr = to_pil(Degradation(preset(name))(clean, torch.tensor([number]))[0])
            restored = restorer(lr, profile=options.profile).images[0]
            picture = to_tensor(restored)
            with torch.inference_mode():
                values = (float(metric(picture, clean)) for metric in (psnr, lpips, dists))
                bicubic = lr.resize(original.size, Image.Resampling.BICUBIC)
                strip = np.hstack([np.asarray(each) for each in (bicubic, restored, original)])
                found.append(Result(number, name, 255 * float(lost.square().mean().sqrt()), *values, strip))

    with (options.output / "values.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Result._fields[:-1])
        writer.writerows(result[:-1] for result in found)
    print("| | PSNR-Y | LPIPS | DISTS |\n|---|---|---|---|")
    groups = {name: [result for result in found if result.preset == name] for name in PRESETS}
    ordered = sorted(found, key=lambda result: result.detail)
    for part, name in enumerate(("little", "some", "much")):
        groups[f"{name} fine detail"] = ordered[len(found) * part // 3 : len(found) * (part + 1) // 3]
    for name, results in groups.items():
        print(f"| {name} | {' | '.join(f'{fmean(column):.4g}' for column in list(zip(*results))[3:6])} |")
    total = pvariance([result.lpips for result in found])
    for key in ("preset", "photo"):
        kinds = {getattr(result, key) for result in found}
        means = [fmean(r.lpips for r in found if getattr(r, key) == kind) for kind in kinds]
        print(f"{key} explains {pvariance(means) / total:.0%} of the variance of LPIPS")
    worst = sorted(found, key=lambda result: -result.lpips)[:WORST]
    for result in worst:
        print(f"{result.photo:2d} {result.preset}: LPIPS {result.lpips:.3f}, DISTS {result.dists:.3f}")
    captioned = [caption(result) for result in worst]
    rows = [np.hstack(captioned[start : start + 2]) for start in range(0, len(captioned) - 1, 2)]
    Image.fromarray(np.vstack(rows)).save(options.output / "pictures.png")


def caption(result: Result) -> np.ndarray:
    picture = Image.fromarray(result.pictures)
    text = f"{result.photo} {result.preset} {result.lpips:.2f}"
    ImageDraw.Draw(picture).text((5, 3), text, "white", ImageFont.load_default(16), stroke_width=2, stroke_fill="black")
    return np.asarray(picture)


if __name__ == "__main__":
    main()
