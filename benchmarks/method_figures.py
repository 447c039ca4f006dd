"""The figures of docs/method.md: each idea of the paper shown with the embedded model on the example photos.

    python benchmarks/method_figures.py [way dape start embedding guidance tiles]

Writes docs/images/method-NAME.webp and prints what the page quotes. All in float32 with seed 0, so that a machine draws
the same figures again. Every picture is undiluted (fidelity 0): the profile `diffusion` shows 40 % of it.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from panels import Panel, save, sheet
from PIL import Image, ImageDraw, ImageFont

from seesr import SeeSRPipeline
from seesr.degradation import apply, draw, preset
from seesr.models.dape import plain_ram
from seesr.photos.pictures import to_pil, to_tensor
from seesr.restoration.outputs import Progress
from seesr.tiling.geometry import Blend, plan_tiles

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CROPS = {"cat": (40, 20, 88, 68), "astronaut": (30, 10, 78, 58), "coffee": (40, 30, 88, 78)}
SCALE, STEPS, DRAWS = 4, 10, 8
GAIN = 8
"""Times that differences are shown larger."""


def photo(name: str) -> Image.Image:
    return Image.open(EXAMPLES / f"{name}.jpg").convert("RGB")


def crop(name: str) -> Image.Image:
    """48 x 48 pixels of an example."""
    return photo(name).crop(CROPS[name])


def restored(pipeline: Any, lr: Image.Image, **settings: Any) -> Image.Image:
    """The diffusion part's own picture."""
    usual = {"profile": "diffusion", "scheduler": "ddpm", "fidelity": 0.0, "num_inference_steps": STEPS}
    return pipeline(lr, **usual | settings).images[0]


def enlarged(lr: Image.Image) -> Image.Image:
    return lr.resize((lr.width * SCALE, lr.height * SCALE), Image.Resampling.BICUBIC)


def difference(a: Image.Image, b: Image.Image) -> tuple[Image.Image, float]:
    """Of two pictures, GAIN times as large around grey; and its mean in levels of 255."""
    change = np.asarray(a, dtype=np.float32) - np.asarray(b, dtype=np.float32)
    return Image.fromarray((128 + GAIN * change).clip(0, 255).astype(np.uint8)), float(np.abs(change).mean())


class Followed:
    """A callback that keeps the latents after each step."""

    def __init__(self) -> None:
        self.latents: list[torch.Tensor] = []

    def __call__(self, progress: Progress) -> None:
        if progress.latents is not None:
            self.latents.append(progress.latents)


def way(pipeline: Any) -> None:
    """What the denoiser has made of the noise after some steps, decoded."""
    rows = []
    for name in ("cat", "coffee"):
        lr, after = crop(name), Followed()
        result = restored(pipeline, lr, callback=after)
        row: list[Panel] = [("the photo, bicubic", enlarged(lr))]
        for step in (2, 6, 8):
            with torch.inference_mode():
                decoded = pipeline.vae.decode(after.latents[step - 1]).sample
            row.append((f"latents after step {step}", to_pil(decoded / 2 + 0.5)))
        rows.append([*row, ("after step 10", result)])
    save(sheet([[(caption, shrunk(picture, 152)) for caption, picture in row] for row in rows]), "method-way")


def shrunk(picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def dape(pipeline: Any) -> None:
    """Probabilities of what the plain tagger sees in a clean photo, when it is degraded: plain tagger and DAPE."""
    rows, all_means = [], []
    for name in CROPS:
        clean = photo(name).resize((256, 256), Image.Resampling.BICUBIC)
        with plain_ram(pipeline.tagger):
            tags = [tag.name for tag in pipeline.see(clean)[0]]
            in_clean = probabilities(pipeline, clean, tags)
        views = [degraded(clean, seed) for seed in range(DRAWS)]
        with plain_ram(pipeline.tagger):
            plain = torch.stack([probabilities(pipeline, view, tags) for view in views]).mean(0)
        adapted = torch.stack([probabilities(pipeline, view, tags) for view in views]).mean(0)
        all_means.append(torch.stack([in_clean, plain, adapted]))
        print(name, *(f"{tag}: {a:.2f} {b:.2f} {c:.2f};" for tag, a, b, c in zip(tags, in_clean, plain, adapted)))
        chart = bars(tags, {"clean, plain": in_clean, "degraded, plain": plain, "degraded, DAPE": adapted})
        rows.append([("the photo", shrunk(clean, 128)), ("degraded", shrunk(views[0], 128)), ("probability", chart)])
    means = torch.cat(all_means, 1).mean(1)
    print(f"mean: clean {means[0]:.2f}, plain {means[1]:.2f}, DAPE {means[2]:.2f}")
    save(sheet(rows), "method-dape")


def degraded(clean: Image.Image, seed: int) -> Image.Image:
    """A quarter as wide, by the paper's degradation; the clean picture is not sharpened."""
    plan = replace(draw(preset("seesr"), seed, clean.height, clean.width, SCALE), usm=False)
    return to_pil(apply(plan, to_tensor(clean)[0])[0][None])


@torch.inference_mode()
def probabilities(pipeline: Any, picture: Image.Image, tags: list[str]) -> torch.Tensor:
    """(len(tags),): what the tagger, as it is now, says of each."""
    logits = pipeline.tagger(pipeline.tagger.preprocess(to_tensor(picture))).logits[0]
    return logits[[pipeline.tagger.config.tags.index(tag) for tag in tags]].sigmoid()


def bars(tags: list[str], values: dict[str, torch.Tensor]) -> Image.Image:
    """A bar a tag and tagger; a full bar is a probability of 1."""
    colours, font = ("#9a9a9a", "#c7662f", "#00796b"), ImageFont.load_default(12)
    chart = Image.new("RGB", (440, 12 + 50 * len(tags)), "white")
    pen = ImageDraw.Draw(chart)
    for row, tag in enumerate(tags):
        pen.text((0, 16 + 50 * row), tag, "black", font)
        for i, (name, column) in enumerate(values.items()):
            y, value = 2 + 50 * row + 15 * i, float(column[row])
            pen.rectangle((64, y, 64 + 240 * value, y + 12), colours[i])
            pen.text((70 + 240 * value, y - 2), f"{value:.2f} {name}", "black", font)
    return chart


def start(pipeline: Any) -> None:
    """From the LR embedding against from noise, with the ControlNet and without."""
    rows = []
    for name in ("astronaut", "coffee"):
        lr, row = crop(name), [("the photo, bicubic", enlarged(crop(name)))]
        for words, scale in (("no ControlNet", 0.0), ("complete", 1.0)):
            pair = [
                restored(pipeline, lr, start_point=point, conditioning_scale=scale, color_fix="none")
                for point in ("noise", "lr")
            ]
            row += [(f"{words},\nfrom noise", pair[0]), (f"{words},\nfrom LRE", pair[1])]
        change, mean = difference(pair[1], pair[0])
        print(f"{name}: with the ControlNet the start changes the picture by {mean:.2f} levels")
        rows.append([*row, (f"complete: difference\n{GAIN} times", change)])
    save(sheet([[(caption, shrunk(picture, 144)) for caption, picture in row] for row in rows]), "method-start")


def compared(pipeline: Any, lr: Image.Image, variants: dict[str, dict[str, Any]], base: str) -> list[Panel]:
    """The photo, each variant, and its difference to the variant `base`."""
    made = {name: restored(pipeline, lr, **settings) for name, settings in variants.items()}
    row: list[Panel] = [("the photo, bicubic", enlarged(lr))]
    for name, picture in made.items():
        row.append((name, picture))
        if name != base:
            change, mean = difference(picture, made[base])
            print(f"{name}, against {base}: {mean:.2f} levels")
            row.append((f"difference, {GAIN} times", change))
    return row


def embedding(pipeline: Any) -> None:
    """RCA with DAPE's embedding, with that of another photo, and with zeros."""
    rows = []
    for name, other in (("cat", "coffee"), ("coffee", "cat")):
        another = pipeline.see(photo(other))[1]
        variants = {
            "DAPE's embedding": {"tags": []},
            f"of the {other}": {"tags": [], "image_embeds": another},
            "none": {"tags": [], "use_image_embeds": False},
        }
        rows.append(compared(pipeline, crop(name), variants, "DAPE's embedding"))
    save(sheet([[(caption, shrunk(picture, 136)) for caption, picture in row] for row in rows]), "method-embedding")


def guidance(pipeline: Any) -> None:
    """Growing weight of the prompt against the negative one."""
    common = {"negative_prompt": "dotted, noise, blur, lowres, smooth", "added_prompt": "clean, high-resolution, 8k"}
    scales = (1.0, 3.0, 5.5, 9.0)
    rows = []
    for name in ("cat", "coffee"):
        made = [restored(pipeline, crop(name), guidance_scale=scale, **common) for scale in scales]
        change, mean = difference(made[2], made[0])
        print(f"{name}: guidance 5.5 against none: {mean:.2f} levels")
        row = [("the photo, bicubic", enlarged(crop(name))), *((f"guidance {s:g}", p) for s, p in zip(scales, made))]
        rows.append([*row, (f"5.5 less 1, {GAIN} times", change)])
    save(sheet([[(caption, shrunk(picture, 136)) for caption, picture in row] for row in rows]), "method-guidance")


def tiles(pipeline: Any) -> None:
    """Latent tiles of 16 against one piece: the published joins and wide ones; and their weights along a row."""
    lr = photo("coffee").crop((50, 20, 114, 68))
    whole = restored(pipeline, lr, latent_tile_size=96)
    row: list[Panel] = [("one piece", whole)]
    for words, overlap, blend in (("gaussian, 2 shared", 2, "gaussian"), ("cosine, 8 shared", 8, "cosine")):
        made = restored(pipeline, lr, latent_tile_size=16, latent_tile_overlap=overlap, tile_blend=blend)
        change, mean = difference(made, whole)
        planned = plan_tiles(24, 32, 16, overlap, blend)
        print(f"{words}: {len(planned)} tiles, {mean:.2f} levels from one piece")
        row += [(words, made), (f"less one piece, {GAIN} times", change)]
    row = [(caption, picture.resize((172, 129), Image.Resampling.LANCZOS)) for caption, picture in row]
    shares, nothing = [], ("", Image.new("RGB", (1, 1), "white"))
    for overlap, blend in ((2, "gaussian"), (8, "cosine")):
        planned = plan_tiles(24, 32, 16, overlap, blend)
        shares += [nothing, ("weights along a row", curves(Blend(planned, 24, 32, blend)))]
    save(sheet([row, shares]), "method-tiles")


def curves(blend: Blend) -> Image.Image:
    """Share of each tile of the first row of tiles, along the uppermost latents."""
    width, height = 172, 80
    picture = Image.new("RGB", (width, height), "#f4f4f4")
    pen = ImageDraw.Draw(picture)
    length = blend.total.shape[1]
    for i, (tile, weights) in enumerate((t, w) for t, w in zip(blend.tiles, blend.weights) if t.top == 0):
        share = torch.zeros(length)
        share[tile.left : tile.left + tile.width] = weights[0] / blend.total[0, tile.left : tile.left + tile.width]
        line = [((x + 0.5) * width / length, height - 4 - float(y) * (height - 8)) for x, y in enumerate(share)]
        pen.line(line, ("#00796b", "#c7662f", "#5b4a9e")[i % 3], 2)
    return picture


FIGURES: dict[str, Callable[[Any], None]] = {
    "way": way,
    "dape": dape,
    "start": start,
    "embedding": embedding,
    "guidance": guidance,
    "tiles": tiles,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="all unless named")
    chosen = parser.parse_args().figures
    pipeline: Any = SeeSRPipeline.from_pretrained("mini")
    pipeline.set_progress_bar_config(disable=True)
    for name in chosen or FIGURES:
        FIGURES[name](pipeline)


if __name__ == "__main__":
    main()
