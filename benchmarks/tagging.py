"""DAPE against its own tagger on degraded photos: do they see what the plain tagger sees in the clean ones?

    python benchmarks/tagging.py [--tagger FOLDER] [--photos SHARD.tar ...] [--presets camera mild] [--seeds 2]

Every photo is tagged whole and as a random crop of 3/4 of its side, clean and degraded to a quarter of its size with
each preset and seed. The degraded one goes to the tagger as it is, as in restoration. The truth is the tags that the
plain tagger switches on in the clean photo. Higher is better but for `distance`:

    mAP        average precision of each tag over the pictures, mean over the tags that occur
    AP         average precision of all pairs of a picture and a tag, ranked by probability
    OP, OR     precision and recall of the tags switched on
    distance   mean squared difference of the representation embedding to that of the clean photo
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seesr.data.samples import load_photos
from seesr.degradation import Degradation, preset
from seesr.loading import tagger_from_folder
from seesr.metrics.tags import Sight, score_tags
from seesr.models.dape import plain_ram

MINI = Path(__file__).resolve().parents[1] / "src" / "seesr" / "assets" / "mini" / "tagger"
STUDENTS = ("plain tagger", "DAPE")
FIGURES = ("mAP", "AP", "OP", "OR")


class Seen(NamedTuple):
    """Of one degraded photo: (tags,) truth, (tags,) probabilities and distance by student."""

    preset: str
    truth: np.ndarray
    probabilities: dict[str, np.ndarray]
    distances: dict[str, float]


def views(pixels: np.ndarray, number: int) -> list[Tensor]:
    """The whole photo and a random crop, (1, 3, h, w) in [0, 1], sides multiples of 4."""
    rng = np.random.default_rng((7, number))
    height, width = (side - side % 4 for side in pixels.shape[:2])
    h, w = (3 * side // 16 * 4 for side in (height, width))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    crops = (pixels[:height, :width], pixels[top : top + h, left : left + w])
    return [torch.tensor(crop).permute(2, 0, 1)[None] / 255 for crop in crops]


@torch.inference_mode()
def look(folder: Path, shards: list[str], presets: list[str], seeds: int) -> list[Seen]:
    tagger = tagger_from_folder(folder)
    thresholds = np.array(tagger.config.thresholds)
    found = []
    for number, photo in enumerate(load_photos(shards, 128)):
        for clean in views(photo.pixels, number):
            with plain_ram(tagger):
                teacher = tagger(tagger.preprocess(clean))
            truth = teacher.logits[0].sigmoid().numpy() > thresholds
            for name in presets:
                for seed in range(seeds):
                    lr, _ = Degradation(preset(name))(clean, torch.tensor([1000 * seed + number]))
                    pixel_values = tagger.preprocess(lr)
                    dape = tagger(pixel_values)
                    with plain_ram(tagger):
                        plain = tagger(pixel_values)
                    students = dict(zip(STUDENTS, (plain, dape)))
                    found.append(
                        Seen(
                            name,
                            truth,
                            {s: out.logits[0].sigmoid().numpy() for s, out in students.items()},
                            {
                                s: float((out.image_embeds - teacher.image_embeds).square().mean())
                                for s, out in students.items()
                            },
                        )
                    )
    return found


def measure(found: Sequence[Seen], student: str, names: list[str], thresholds: np.ndarray) -> list[float]:
    """The figures in percent, and the distance."""
    truth = np.stack([seen.truth for seen in found])  # (pictures, tags)
    probabilities = np.stack([seen.probabilities[student] for seen in found])
    summary = score_tags(names, truth, Sight(probabilities, probabilities > thresholds)).summary
    distance = np.mean([seen.distances[student] for seen in found])
    return [*(summary[figure] for figure in FIGURES), float(distance)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tagger", type=Path, default=MINI)
    parser.add_argument("--photos", nargs="+", default=["../shared/photos/val-0000.tar"])
    parser.add_argument("--presets", nargs="+", default=["camera", "mild", "real-esrgan"])
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()

    found = look(options.tagger, options.photos, options.presets, options.seeds)
    config = tagger_from_folder(options.tagger).config
    print(f"{'preset':<12} {'tagger':<12}" + "".join(f"{name:>9}" for name in (*FIGURES, "distance")))
    for name in [*options.presets, "all"]:
        chosen = [seen for seen in found if name in (seen.preset, "all")]
        for student in STUDENTS:
            *figures, distance = measure(chosen, student, config.tags, np.array(config.thresholds))
            print(f"{name:<12} {student:<12}" + "".join(f"{figure:9.1f}" for figure in figures) + f"{distance:9.3f}")
    print(f"{len(found)} degraded pictures, {sum(int(seen.truth.sum()) for seen in found)} tags in their clean ones")


if __name__ == "__main__":
    main()
