"""What each idea of the paper does in a model: one row a variant, on degraded validation photos.

    python benchmarks/ablation.py [--model mini] [--photos 24] [--size 256] [--steps 20] [-o runs/ablation]
        [--tagged tree grass water] [--named] [--settings guidance=3,fidelity=0]
        [--only "embedding only" "tags of another photo"]

The middle of every photo is degraded (camera, mild and real-esrgan in turn; fixed seeds) and restored by each variant
with the same noise. `--tagged` keeps photos that show one of the words (clean, to the plain tagger), `--named` those of
which DAPE can name something when they are degraded; the other photo whose tags are tried has none of this one's.
Differences to the complete model ("tags + embedding") come with the standard error of the paired difference. Writes
`ablation.csv`, `ablation.md` and `pictures.png`: a row a photo, with its tags and the other's; a column a variant.
"""

import argparse
import csv
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seesr import SeeSRPipeline
from seesr.data.samples import load_photos
from seesr.degradation import Degradation, preset
from seesr.devices import choose_device, choose_dtype
from seesr.evaluation.baselines.seesr_model import parse_settings
from seesr.metrics.dists import Dists
from seesr.metrics.lpips import Lpips
from seesr.metrics.niqe import Niqe
from seesr.metrics.psnr_ssim import psnr
from seesr.models.dape import plain_ram
from seesr.photos.pictures import to_pil, to_tensor

PRESETS = ("camera", "mild", "real-esrgan")
COMPLETE = "tags + embedding"
PICTURES = 8  # rows of pictures.png


class Sample(NamedTuple):
    """A photo to restore."""

    name: str
    lr: Image.Image
    clean: Image.Image
    clean_tags: list[str]  # what the plain tagger sees in `clean`


def load_samples(
    pipeline: Any, shards: list[str], size: int, count: int, tagged: set[str], named: bool = False
) -> list[Sample]:
    """The first `count` photos that show one of `tagged`, or any; degraded to a quarter of `size`.

    named: only photos of which the model's tagger can name something when they are degraded.
    """
    samples: list[Sample] = []
    for number, photo in enumerate(load_photos(shards, size)):
        top, left = ((side - size) // 2 for side in photo.pixels.shape[:2])
        pixels = photo.pixels[top : top + size, left : left + size]
        shown = plain_tags(pipeline, Image.fromarray(pixels))
        if len(samples) == count:
            break
        if not tagged or tagged & set(shown):
            lr, clean = degraded(pixels, len(samples), number)
            if not named or pipeline.see(lr)[0]:
                samples.append(Sample(photo.name, lr, clean, shown))
    return samples


def degraded(pixels: np.ndarray, turn: int, seed: int) -> tuple[Image.Image, Image.Image]:
    """A quarter as wide, by the preset whose turn it is; and the clean picture."""
    clean = torch.tensor(pixels.transpose(2, 0, 1)[None]).float() / 255
    lr, target = Degradation(preset(PRESETS[turn % len(PRESETS)]))(clean, torch.tensor([seed]))
    return to_pil(lr), to_pil(target)


def plain_tags(pipeline: Any, clean: Image.Image) -> list[str]:
    """What the plain tagger sees."""
    with plain_ram(pipeline.tagger):
        return [tag.name for tag in pipeline.see(clean)[0]]


def others(tags: list[list[str]]) -> list[list[str]]:
    """For each photo the tags of the next one that has some and none of this one's; its own where there is none."""
    found = []
    for number, own in enumerate(tags):
        following = tags[number + 1 :] + tags[:number]
        found.append(next((other for other in following if other and not set(other) & set(own)), own))
    return found


def variants(
    pipeline: Any, sample: Sample, other_tags: list[str], common: dict[str, Any]
) -> dict[str, Callable[[], Image.Image]]:
    """Name → the call that restores the sample; `common` are settings of all of them."""

    def run(tagger: Any = nullcontext, **settings: Any) -> Image.Image:
        with tagger():
            return pipeline(sample.lr, **{"profile": "diffusion"} | common | settings).images[0]

    def autoencoded() -> Image.Image:
        pixels = to_tensor(sample.clean).to(pipeline.vae.device, pipeline.vae.dtype) * 2 - 1
        with torch.inference_mode():
            decoded = pipeline.vae.decode(pipeline.vae.encode(pixels).latent_dist.mode()).sample
        return to_pil(decoded.float() / 2 + 0.5)

    return {
        "without diffusion": lambda: run(profile="fast", num_inference_steps=0),
        COMPLETE: run,
        "tags only": lambda: run(use_image_embeds=False),
        "embedding only": lambda: run(tags=[]),
        "neither": lambda: run(tags=[], use_image_embeds=False),
        "tags of another photo": lambda: run(tags=other_tags),
        "tags of the clean photo": lambda: run(tags=sample.clean_tags),
        "plain tagger, not DAPE": lambda: run(lambda: plain_ram(pipeline.tagger)),
        "from noise, not LRE": lambda: run(start_point="noise"),
        "no ControlNet": lambda: run(conditioning_scale=0.0),
        "guidance 3": lambda: run(guidance_scale=3.0),
        "fidelity 0": lambda: run(fidelity=0.0),
        "1 step": lambda: run(num_inference_steps=1),
        "4 steps": lambda: run(num_inference_steps=4),
        "4 steps of DPM-Solver++": lambda: run(num_inference_steps=4, scheduler="dpm++"),
        "50 steps": lambda: run(num_inference_steps=50),
        "the clean photo through the autoencoder": autoencoded,
    }


def all_metrics() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Name → metric of a restored and a clean picture; NIQE looks at the first alone."""
    niqe = Niqe()
    return {"PSNR-Y": psnr, "LPIPS": Lpips(), "DISTS": Dists(), "NIQE": lambda restored, clean: niqe(restored)}


def measure(restored: Image.Image, clean: Image.Image, metrics: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> dict:
    a, b = to_tensor(restored), to_tensor(clean)
    with torch.inference_mode():
        return {name: float(metric(a, b)) for name, metric in metrics.items()}


def captioned(picture: Image.Image, text: str) -> np.ndarray:
    picture = picture.copy()
    ImageDraw.Draw(picture).text((5, 3), text, "white", ImageFont.load_default(14), stroke_width=2, stroke_fill="black")
    return np.asarray(picture)


def table(rows: dict[str, list[dict[str, float]]], names: list[str]) -> str:
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for variant in rows:
        cells = []
        for name in names:
            values, complete = ([row[name] for row in rows[key]] for key in (variant, COMPLETE))
            cell = f"{fmean(values):.4g}"
            if variant != COMPLETE:
                differences = [a - b for a, b in zip(values, complete)]
                cell += f" ({fmean(differences):+.2g}"
                if len(differences) > 1:  # of one there is no error
                    cell += f" ± {stdev(differences) / math.sqrt(len(differences)):.1g}"
                cell += ")"
            cells.append(cell)
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--shards", nargs="+", default=["../shared/photos/val-0000.tar"])
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--size", type=int, default=256, help="side of the clean photo, a multiple of 32")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tagged", nargs="+", default=[], help="only photos with one of these tags")
    parser.add_argument("--named", action="store_true", help="only photos that DAPE finds a tag for when degraded")
    parser.add_argument("--settings", default="", help="KEY=VALUE,... of all variants, as for `seesr evaluate`")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    pipeline: Any = SeeSRPipeline.from_pretrained(options.model, dtype=choose_dtype("auto", choose_device("cpu")))
    pipeline.set_progress_bar_config(disable=True)
    metrics = all_metrics()
    common = {"num_inference_steps": options.steps} | parse_settings(options.settings)
    samples = load_samples(pipeline, options.shards, options.size, options.photos, set(options.tagged), options.named)
    tags = [[tag.name for tag in pipeline.see(sample.lr)[0]] for sample in samples]
    other_tags = others([list(dict.fromkeys([*seen, *sample.clean_tags])) for seen, sample in zip(tags, samples)])
    rows: dict[str, list[dict[str, float]]] = {}
    sheet: list[np.ndarray] = []
    with (options.output / "ablation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "variant", *metrics])
        for number, sample in enumerate(samples):
            calls = variants(pipeline, sample, other_tags[number], common)
            bicubic = sample.lr.resize(sample.clean.size, Image.Resampling.BICUBIC)
            strip = [captioned(bicubic, f"{', '.join(tags[number])}\nnot {', '.join(other_tags[number])}")]
            for name, call in calls.items():
                if options.only and name not in (*options.only, COMPLETE):
                    continue
                restored = call()
                values = measure(restored, sample.clean, metrics)
                rows.setdefault(name, []).append(values)
                writer.writerow([sample.name, name, *(f"{value:.5f}" for value in values.values())])
                strip.append(captioned(restored, "" if number else name))
            file.flush()
            if number < PICTURES:
                sheet.append(np.hstack([*strip, captioned(sample.clean, "" if number else "original")]))
            seen = f"{', '.join(tags[number])}; not {', '.join(other_tags[number])}"
            print(f"{number + 1} of {len(samples)}: {seen}", flush=True)
    Image.fromarray(np.vstack(sheet)).save(options.output / "pictures.png")
    text = table(rows, list(metrics))
    (options.output / "ablation.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
