"""The pictures of docs/tutorial.md, made as its commands make them: profiles side by side, the sheet of tags, words.

    python benchmarks/tutorial_pictures.py

In float32 with seed 0. Writes docs/images/tutorial-NAME.webp.
"""

from pathlib import Path
from typing import Any

import numpy as np
from panels import save, sheet
from PIL import Image

from seesr import SeeSRPipeline
from seesr.restoration.tag_sheet import draw_tags

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "cat.jpg"
BOX = (112, 70, 352, 220)
"""Of the restored picture, 640 x 480: an eye, nose and fur."""


def profiles(pipeline: Any, photo: Image.Image) -> dict[str, Image.Image]:
    """The photo bicubically and by the tutorial's commands."""
    return {
        "bicubic": photo.resize((photo.width * 4, photo.height * 4), Image.Resampling.BICUBIC),
        "usual (fast)": pipeline(photo, profile="fast").images[0],
        "--detail 0": pipeline(photo, detail=0.0).images[0],
        "--detail 1": pipeline(photo, detail=1.0).images[0],
        "--profile diffusion": pipeline(photo, profile="diffusion").images[0],
        "and --fidelity 0": pipeline(photo, profile="diffusion", fidelity=0.0).images[0],
    }


def main() -> None:
    photo = Image.open(PHOTO).convert("RGB")
    pipeline: Any = SeeSRPipeline.from_pretrained("mini")
    pipeline.set_progress_bar_config(disable=True)
    made = profiles(pipeline, photo)
    shown = [(caption, picture.crop(BOX)) for caption, picture in made.items()]
    save(sheet([shown[:2], shown[2:4], shown[4:]]), "tutorial-profiles")

    seen = pipeline.see(photo)
    save(draw_tags(photo, seen[0], pipeline.tagger.tag_maps(seen[1], [tag.name for tag in seen[0]])), "tutorial-tags")

    other = pipeline(photo, profile="diffusion", fidelity=0.0, tags=["wood", "grass"]).images[0]
    change = np.asarray(other, dtype=np.float32) - np.asarray(made["and --fidelity 0"], dtype=np.float32)
    print(f"other words change the undiluted picture by {np.abs(change).mean():.2f} levels of 255")


if __name__ == "__main__":
    main()
