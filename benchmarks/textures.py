"""What the tags are worth on single textures: the picture with DAPE's tags, with none and with another photo's.

    python benchmarks/textures.py [--model mini] [--shards ../shared/photos/val-0000.tar runs/tags-held.tar]
        [--settings fidelity=0] [--each 40] [-o runs/textures]

A photo shows a texture if the plain tagger names one of its words in the clean photo. Of each texture the first
`--each` photos that DAPE can name something in when they are degraded (camera, mild and real-esrgan in turn; fixed
seeds) are restored three times, from the same noise; the other photo's tags have none of this one's. Differences to
DAPE's tags are paired, with their standard error. Writes `textures.csv`, `textures.md` and `textures.png`, the first
photos of each texture.
"""

import argparse
import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ablation import COMPLETE, Sample, all_metrics, captioned, degraded, measure, others, plain_tags, table, variants
from PIL import Image

from seesr import SeeSRPipeline
from seesr.data.samples import load_photos
from seesr.devices import choose_device, choose_dtype
from seesr.evaluation.baselines.seesr_model import parse_settings

TEXTURES = {
    "foliage": "tree, forest, grass, plant, potted plant, flower, daisy, field, hay",
    "fur": "dog, cat, lion, tiger, leopard, lynx, fox, wolf, bear, polar bear, panda, monkey, ape, sheep, goat, "
    "rabbit, squirrel, horse, cattle, llama, hamster, otter, badger, beaver, koala, camel, zebra, antelope, "
    "kangaroo, teddy bear",
    "feathers": "bird, songbird, bird of prey, water bird, duck, swan, heron, stork, parrot, owl, eagle, chicken, "
    "peacock, vulture, flamingo, pelican, ostrich",
    "fabric": "fabric, clothing, sweater, suit, dress, skirt, coat, jeans, uniform, kimono, quilt, curtain, carpet, "
    "pillow, sofa, bed",
    "brick, stone": "stone wall, building, house, church, castle, palace, temple, roof, tiled roof, monument, cliff",
    "water": "water, sea, lake, beach, coast, fountain, dam, harbor",
}
VARIANTS = {COMPLETE: COMPLETE, "no tags": "embedding only", "tags of another photo": "tags of another photo"}
SMALLEST = 192  # pixels, for NIQE
SHOWN = 2  # photos of each texture


class Found(NamedTuple):
    """A photo that shows one of the textures, or several."""

    sample: Sample
    textures: list[str]
    seen: list[str]  # DAPE's tags of the degraded photo


def find(pipeline: Any, shards: list[str], size: int, each: int) -> list[Found]:
    """The first `each` photos of every texture, the middle of each photo, at most `size` wide."""
    words = {texture: set(text.split(", ")) for texture, text in TEXTURES.items()}
    room = dict.fromkeys(TEXTURES, each)
    found: list[Found] = []
    for number, photo in enumerate(load_photos(shards, SMALLEST, small="skip")):
        side = min(size, *photo.pixels.shape[:2]) // 32 * 32
        top, left = ((length - side) // 2 for length in photo.pixels.shape[:2])
        pixels = photo.pixels[top : top + side, left : left + side]
        shown = plain_tags(pipeline, Image.fromarray(pixels))
        textures = [texture for texture in TEXTURES if words[texture] & set(shown) and room[texture]]
        if not textures:
            continue
        lr, clean = degraded(pixels, len(found), number)
        seen = [tag.name for tag in pipeline.see(lr)[0]]
        if seen:
            found.append(Found(Sample(photo.name, lr, clean, shown), textures, seen))
            for texture in textures:
                room[texture] -= 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--shards", nargs="+", default=["../shared/photos/val-0000.tar", "runs/tags-held.tar"])
    parser.add_argument("--size", type=int, default=256, help="side of the clean photo, at most")
    parser.add_argument("--each", type=int, default=40, help="photos of each texture")
    parser.add_argument("--settings", default="fidelity=0", help="KEY=VALUE,... as for `seesr evaluate`")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/textures"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    pipeline: Any = SeeSRPipeline.from_pretrained(options.model, dtype=choose_dtype("auto", choose_device("cpu")))
    pipeline.set_progress_bar_config(disable=True)
    metrics, settings = all_metrics(), parse_settings(options.settings)
    found = find(pipeline, options.shards, options.size, options.each)
    strangers = others([list(dict.fromkeys([*one.seen, *one.sample.clean_tags])) for one in found])
    rows: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in ("all", *TEXTURES)}
    strips: dict[str, list[np.ndarray]] = {texture: [] for texture in TEXTURES}
    with (options.output / "textures.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "textures", "variant", *metrics])
        for number, (one, wrong) in enumerate(zip(found, strangers)):
            calls = variants(pipeline, one.sample, wrong, settings)
            bicubic = one.sample.lr.resize(one.sample.clean.size, Image.Resampling.BICUBIC)
            strip = [captioned(bicubic, f"{', '.join(one.seen)}\nnot {', '.join(wrong)}")]
            for heading, variant in VARIANTS.items():
                restored = calls[variant]()
                values = measure(restored, one.sample.clean, metrics)
                for texture in ("all", *one.textures):
                    rows[texture].setdefault(heading, []).append(values)
                cells = [f"{value:.5f}" for value in values.values()]
                writer.writerow([one.sample.name, "; ".join(one.textures), heading, *cells])
                strip.append(captioned(restored, heading))
            file.flush()
            strip.append(captioned(one.sample.clean, "original"))
            first = next((texture for texture in one.textures if len(strips[texture]) < SHOWN), None)
            if first and one.sample.clean.width >= 224:
                strips[first].append(np.hstack([np.asarray(Image.fromarray(p).resize((256, 256))) for p in strip]))
            print(f"{number + 1} of {len(found)}", flush=True)
    Image.fromarray(np.vstack([strip for those in strips.values() for strip in those])).save(
        options.output / "textures.png"
    )
    tables = [f"{name}, {len(r[COMPLETE])} photos\n\n{table(r, list(metrics))}" for name, r in rows.items() if r]
    (options.output / "textures.md").write_text("\n".join(tables))
    print("\n".join(tables))


if __name__ == "__main__":
    main()
