"""What single words paint when nothing else is given: is the text read at all, and does it mean something?

    python benchmarks/words.py [--model mini] [--guidance 5] [--seeds 4] [-o runs/words]

The diffusion part starts from noise, without photo, ControlNet and embedding; the prompt is one word. The
plain tagger then says which of the words it sees most of in each picture: `first` is the share of pictures in which it
is the word that was asked for, `rank` that word's mean place among all, 0 the first, .5 by chance. Writes
`pictures.png`, a row a seed, a column a word; the first column is without a word.
"""

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from seesr import SeeSRPipeline
from seesr.devices import choose_device, choose_dtype
from seesr.models.dape import plain_ram
from seesr.photos.pictures import to_tensor

WORDS = ("sky", "water", "snow", "mountain", "grass", "tree", "flower", "building", "person", "food", "text", "animal")
SIDE = 192  # of a picture


def painted(pipeline: Any, word: str, guidance: float, steps: int, seed: int) -> Image.Image:
    """A picture of `word`, or of anything for ""."""
    grey = Image.new("RGB", (SIDE // 4, SIDE // 4), (118, 118, 118))
    return pipeline(
        grey,
        profile="diffusion",
        tags=[word] if word else [],
        use_image_embeds=False,
        conditioning_scale=0.0,
        start_point="noise",
        fidelity=0.0,
        color_fix="none",
        guidance_scale=guidance,
        num_inference_steps=steps,
        seed=seed,
    ).images[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/words"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    pipeline: Any = SeeSRPipeline.from_pretrained(options.model, dtype=choose_dtype("auto", choose_device("cpu")))
    pipeline.set_progress_bar_config(disable=True)
    known = pipeline.tagger.config.tags
    columns = torch.tensor([known.index(word) for word in WORDS])

    sheet, usual, logits = [], [], []
    for seed in range(options.seeds):
        row = []
        for word in ("", *WORDS):
            picture = painted(pipeline, word, options.guidance, options.steps, seed)
            pixels = pipeline.tagger.preprocess(to_tensor(picture)).to(pipeline.tagger.dtype)
            with torch.inference_mode(), plain_ram(pipeline.tagger):
                (logits if word else usual).append(pipeline.tagger(pixels).logits[0, columns].float())
            draw = ImageDraw.Draw(picture)
            draw.text(
                (6, 4), word or "nothing", "white", ImageFont.load_default(18), stroke_width=2, stroke_fill="black"
            )
            row.append(np.asarray(picture))
        sheet.append(np.hstack(row))
        Image.fromarray(np.vstack(sheet)).save(options.output / "pictures.png")
    seen = torch.stack(logits) - torch.stack(usual).mean(0)  # (seeds * words, words): more than in a picture of nothing
    asked = torch.arange(len(WORDS)).repeat(options.seeds)
    own = seen.gather(1, asked[:, None])
    places = (seen > own).sum(1) / (len(WORDS) - 1)
    print("| word | first | rank |\n|---|---|---|")
    for number, word in enumerate(WORDS):
        found = places[number :: len(WORDS)].tolist()
        print(f"| {word} | {fmean(place == 0 for place in found):.2f} | {fmean(found):.2f} |")
    print(f"| all | {fmean(place == 0 for place in places.tolist()):.2f} | {places.mean():.2f} |")
    print(f"By chance: {1 / len(WORDS):.2f}, .50")


if __name__ == "__main__":
    main()
