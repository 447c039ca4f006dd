"""How well tag maps find their tags: photos put together in pairs, and the share of each map in the right half.

python benchmarks/tag_maps.py PHOTOS [--pairs 100]   (folders or shards; a tag counts that only one of the two shows)
"""

import argparse
import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from seesr.data.photos import load_photos
from seesr.loading import load_tagger
from seesr.restoration.restorer import Restorer


def side_by_side(pair: Sequence[Image.Image], side: int = 256) -> Image.Image:
    """Two photos, each stretched to a square."""
    picture = Image.new("RGB", (2 * side, side))
    for place, photo in enumerate(pair):
        picture.paste(photo.resize((side, side), Image.Resampling.BICUBIC), (place * side, 0))
    return picture


def shares(restorer: Restorer, pair: Sequence[Image.Image]) -> dict[bool, list[float]]:
    """Share of a map's mass in the half of the photo that has the tag alone, by whether the tag is on for the pair."""
    assert restorer.tagger is not None
    left, right = ({tag.name for tag in restorer.see(photo)[0]} for photo in pair)
    found, image_embeds = restorer.see(side_by_side(pair))
    on = {tag.name for tag in found}
    names = sorted(left ^ right)
    out: dict[bool, list[float]] = {True: [], False: []}
    for name, tag_map in zip(names, restorer.tagger.tag_maps(image_embeds, names)):  # type: ignore[arg-type]
        if tag_map.any():  # a tag that is off may have no evidence at all
            half = tag_map[:, : tag_map.shape[1] // 2].sum() / tag_map.sum()
            out[name in on].append(float(half if name in left else 1 - half))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    restorer = load_tagger(given.model, torch.float32, torch.device("cpu"))
    photos = [Image.fromarray(photo.pixels) for photo in load_photos(given.photos, 128)]
    draws = random.Random(0)
    all_shares: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(given.pairs):
        pair = draws.sample(photos, 2)
        for on, values in shares(restorer, pair).items():
            all_shares[on] += values
    print("| tags | maps | mean share in the right half | more than half there |\n|---|---|---|---|")
    for on, name in ((True, "on for the pair"), (False, "off for the pair")):
        values = np.array(all_shares[on])
        print(f"| {name} | {len(values)} | {values.mean():.2f} | {100 * (values > 0.5).mean():.0f} % |")


if __name__ == "__main__":
    main()
