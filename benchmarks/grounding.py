"""Where the first step's prediction changes when one tag is replaced, with and without grounded tags; a figure.

python benchmarks/grounding.py PHOTO -o FIGURE [--tag cat] [--by vehicle] [--scale 4]

Prints the mean change where the tag is seen and where it is not, in the positive prompt's prediction.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from seesr import SeeSRPipeline
from seesr.photos.photo import read_photo
from seesr.restoration import diffusion
from seesr.restoration.enlarging import enlarge_bicubic
from seesr.restoration.grounding import Grounding, ground, reading_mask
from seesr.restoration.sampling import set_timesteps, start_latents
from seesr.restoration.schedulers import make_scheduler
from seesr.restoration.work_plan import usual_plan
from seesr.tiling.geometry import LATENT_FACTOR, Tile


@torch.inference_mode()
def prediction(pipeline: SeeSRPipeline, enlarged: Image.Image, tag: str, grounding: Grounding | None) -> torch.Tensor:
    """The positive prompt's prediction at the first step, (c, h, w); the prompt is the tag alone."""
    settings = pipeline.settings("diffusion", guidance_scale=3.0)
    scheduler = make_scheduler(settings.scheduler, pipeline.scheduler.config)
    set_timesteps(scheduler, settings.num_inference_steps, 0, torch.device("cpu"))
    latents = diffusion.encode_picture(
        pipeline.vae, enlarged, usual_plan(settings), torch.device("cpu"), lambda progress: None
    )
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    start = start_latents(scheduler, latents, noise, "lr")
    mask = reading_mask(grounding.token_tags, grounding.end) if grounding else None
    text = torch.cat([pipeline.encode_prompts([""]), pipeline.encode_prompts([tag], mask)])
    _, image_embeds = pipeline.see(enlarged)
    tile = Tile(0, 0, *latents.shape[-2:])
    with diffusion.TilePredictor(
        pipeline.unet,
        pipeline.controlnet,
        lambda area: latents,
        [tile],
        [diffusion.Context(text, image_embeds, grounding)],  # type: ignore[arg-type]
        settings,
        0,
    ) as predictor:
        return predictor([tile], start, scheduler.timesteps[0], guided=False)[0, 0]


def shown(values: torch.Tensor, size: tuple[int, int], top: float) -> Image.Image:
    """(h, w) as a picture from black over orange to white at `top`."""
    level = (values / top).clamp(0, 1).numpy()
    rgb = np.stack([(3 * level - shift).clip(0, 1) for shift in (0, 0.8, 2)], -1)
    return Image.fromarray((255 * rgb).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tag", default="cat")
    parser.add_argument("--by", default="vehicle", help="the word that replaces it, there where the tag is seen")
    parser.add_argument("--scale", type=float, default=4.0)
    given = parser.parse_args()
    pipeline = SeeSRPipeline.from_pretrained("mini")
    photo = read_photo(given.photo).rgb
    enlarged = enlarge_bicubic(photo, given.scale, 8)
    assert isinstance(enlarged, Image.Image)
    embeds = pipeline.see(photo)[1]
    maps = pipeline.tagger.tag_maps(embeds, [given.tag])  # type: ignore[union-attr, arg-type]
    changes = {}
    for name, on in (("usual", False), ("grounded", True)):
        found = []
        for tag in (given.tag, given.by):
            grounding = ground(tag, [tag], [tag], lambda names: maps, pipeline.tokenizer) if on else None
            found.append(prediction(pipeline, enlarged, tag, grounding))
        changes[name] = (found[0] - found[1]).abs().mean(0)
    height, width = changes["usual"].shape
    tile = Tile(0, 0, height, width)
    seen = replace(grounding, token_tags=torch.zeros(1, dtype=torch.long)).masks(tile, tile)[0]  # type: ignore[type-var]
    for name, change in changes.items():
        inside, outside = ((change * share).sum() / share.sum() for share in (seen, (seen == 0).float()))
        print(f"{name}: {inside:.5f} where {given.tag} is seen, {outside:.5f} where it is not")
    side = (width * LATENT_FACTOR // 2, height * LATENT_FACTOR // 2)
    top = float(torch.quantile(changes["usual"], 0.99))
    panels = {
        "photo": enlarged.resize(side),
        f"where '{given.tag}' acts": shown(seen, side, 1.2),
        "change, usual": shown(changes["usual"], side, top),
        "change, grounded": shown(changes["grounded"], side, top),
    }
    figure = Image.new("RGB", (4 * (side[0] + 10) - 10, side[1] + 28), "white")
    for place, (name, panel) in enumerate(panels.items()):
        left = place * (side[0] + 10)
        figure.paste(panel, (left, 28))
        ImageDraw.Draw(figure).text((left, 5), name, "black", ImageFont.load_default(15))
    figure.save(given.output)


if __name__ == "__main__":
    main()
