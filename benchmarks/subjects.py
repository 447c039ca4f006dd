"""How the embedded model treats what photographers look at first: faces, letters, leaves, brick, sky, night, JPEG.

    python benchmarks/subjects.py [--model mini] [--profile fast] [-o runs/subjects]

Parts of validation photos are degraded like a phone's picture (camera), like one that went through messengers
(real-esrgan), at night (an eighth of the light, brought up again with the sensor's noise) or by JPEG alone (quality
25), and restored. Figures are those of the model, with the paired difference to Real-ESRGAN x4plus and its standard
error. Writes `pictures.png`, a row a photo: bicubic, x4plus, the model, original.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seesr.checkpoints.ncnn import convert_realesrgan
from seesr.data.samples import load_photos
from seesr.degradation import Degradation, preset
from seesr.degradation.jpeg import jpeg_pillow
from seesr.devices import choose_device, choose_dtype
from seesr.loading import LightRestorer, load_restorer
from seesr.metrics.dists import Dists
from seesr.metrics.lpips import Lpips
from seesr.metrics.niqe import Niqe
from seesr.models.enlarger import Enlarger
from seesr.photos.pictures import to_pil, to_tensor

PART, SHOWN = 320, 192  # sides of what is restored and of what the page shows, in pixels of the original

SUBJECTS: dict[str, tuple[tuple[int, int, int], ...]] = {  # number of the photo, left, top
    "face": ((25, 150, 100), (29, 120, 130), (55, 60, 190)),
    "letters": ((24, 0, 130), (36, 0, 60), (46, 40, 40), (40, 150, 60)),
    "foliage": ((33, 100, 100), (39, 190, 190), (51, 0, 100)),
    "brick, stone, wood": ((0, 100, 20), (7, 190, 100), (28, 0, 190), (56, 100, 100)),
    "fur": ((43, 100, 100), (52, 190, 20), (5, 20, 40), (60, 50, 190)),
    "fabric": ((8, 190, 190), (23, 60, 60), (26, 60, 100)),
    "water": ((15, 60, 190), (17, 150, 60), (34, 60, 100), (57, 60, 190)),
    "sky": ((9, 60, 60), (24, 190, 0), (63, 60, 190)),
    "night": ((30, 60, 60), (38, 100, 100), (18, 100, 190), (62, 100, 100)),
    "JPEG": ((10, 100, 60), (47, 60, 60), (61, 100, 60), (25, 150, 100)),
}


def at_night(clean: Tensor, number: int) -> Tensor:
    """A quarter of the size, shot noise of a dark exposure that is brought up again, JPEG of quality 75."""
    generator = torch.Generator().manual_seed(number)
    small = torch.nn.functional.interpolate(clean, scale_factor=0.25, mode="bicubic", antialias=True).clamp(0, 1)
    electrons = 900 / 8 * small.pow(2.2) + 2
    noisy = (electrons + electrons.sqrt() * torch.randn(small.shape, generator=generator) - 2) / (900 / 8)
    return jpeg_pillow(noisy.clamp(0, 1).pow(1 / 2.2)[0], 75)[None]


def degradations(subject: str) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """What is done to a subject's photos: the clean part, (1, 3, h, w), and the photo's number → its quarter."""

    def by(name: str) -> Callable[[Tensor, int], Tensor]:
        degrade = Degradation(preset(name))
        return lambda clean, number: degrade(clean, torch.tensor([number]))[0]

    if subject == "night":
        return {"": at_night}
    if subject == "JPEG":
        small = by("bicubic")
        return {"": lambda clean, number: jpeg_pillow(small(clean, number)[0], 25)[None]}
    return {f", {name}": by(name) for name in ("camera", "real-esrgan")}


def row(pictures: list[Image.Image], caption: str) -> np.ndarray:
    """The middles side by side, with a caption."""
    edge = (PART - SHOWN) // 2
    strip = Image.fromarray(np.hstack([np.asarray(p.crop((edge, edge, edge + SHOWN, edge + SHOWN))) for p in pictures]))
    draw = ImageDraw.Draw(strip)
    draw.text((5, 3), caption, "white", ImageFont.load_default(14), stroke_width=2, stroke_fill="black")
    return np.asarray(strip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--profile")
    parser.add_argument("--shards", nargs="+", default=["../shared/photos/val-0000.tar"])
    parser.add_argument("--x4plus", type=Path, default=Path("runs/x4plus"), help="where it is, or is put")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/subjects"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    device = choose_device("cpu")
    dtype = choose_dtype("auto", device)
    if not (options.x4plus / "config.json").is_file():
        convert_realesrgan(options.x4plus)
    x4plus_network = Enlarger.from_pretrained(options.x4plus, torch_dtype=dtype).eval()
    x4plus_network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    baseline: Any = LightRestorer({"default_profile": "fast"}, enlarger=x4plus_network)
    model: Any = load_restorer(options.model, dtype, device, options.profile)
    metrics: dict[str, Any] = {"LPIPS": Lpips(), "DISTS": Dists()}
    niqe = Niqe()

    def measured(restored: Image.Image, clean: Tensor) -> dict[str, float]:
        picture = to_tensor(restored)
        with torch.inference_mode():
            return {name: float(metric(picture, clean)) for name, metric in metrics.items()} | {
                "NIQE": float(niqe(picture))
            }

    photos = load_photos(options.shards, PART)
    rows, sheet = {}, []
    for subject, parts in SUBJECTS.items():
        values: list[tuple[dict[str, float], dict[str, float]]] = []
        for kind, degrade in degradations(subject).items():
            for number, left, top in parts:
                pixels = photos[number].pixels[top : top + PART, left : left + PART]
                clean = torch.tensor(pixels.transpose(2, 0, 1)[None]).float() / 255
                lr = to_pil(degrade(clean, number))
                x4plus = baseline(lr).images[0]
                restored = model(lr, profile=options.profile).images[0]
                values.append((measured(restored, clean), measured(x4plus, clean)))
                bicubic = lr.resize((PART, PART), Image.Resampling.BICUBIC)
                sheet.append(row([bicubic, x4plus, restored, Image.fromarray(pixels)], f"{subject}{kind}"))
        rows[subject] = values
    half = math.ceil(len(sheet) / 2)
    columns = [np.vstack(part) for part in (sheet[:half], sheet[half:])]
    columns[1] = np.pad(columns[1], ((0, columns[0].shape[0] - columns[1].shape[0]), (0, 0), (0, 0)))
    Image.fromarray(np.hstack(columns)).save(options.output / "pictures.png")

    rows["all"] = [pair for pairs in list(rows.values()) for pair in pairs]
    names = [*metrics, "NIQE"]
    print(f"| | pictures | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
    for subject, pairs in rows.items():
        cells = []
        for name in names:
            differences = [ours[name] - theirs[name] for ours, theirs in pairs]
            error = stdev(differences) / math.sqrt(len(differences))
            cells.append(f"{fmean(o[name] for o, _ in pairs):.3f} ({fmean(differences):+.3f} ± {error:.3f})")
        print(f"| {subject} | {len(pairs)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
