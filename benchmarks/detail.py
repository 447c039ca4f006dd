"""What the enlarger's `detail` does, and whether a photo tells which is best: the calm end against the detailed one.

    python benchmarks/detail.py table '../shared/photos/train-*.tar' runs/detail/train.pt --samples 320 --seed 11
    python benchmarks/detail.py table '../shared/photos/train-*.tar' runs/detail/more.pt --samples 160 --seed 12
    python benchmarks/detail.py table ../shared/photos/val-0000.tar runs/detail/val.pt --samples 64 --seed 7
    python benchmarks/detail.py choice runs/detail/*.pt    # needs scikit-learn

`table` degrades photos, half of them as web pages and phones do, enlarges 64x64 pixels of each at details 0, .5 and 1
and measures the results: some 6 s of processor time a sample. `choice` prints the means at fixed details, and how much
of what the best detail for each sample gains over the best fixed one can be foretold: from statistics of noise, JPEG
blocks and sharpness, from the tagger's embedding, and from both (extremely randomised trees, six folds by photo). The
objective is DISTS + features / 4 + L1 / 2 + W * texture where the clean picture is flat; no sample counts for more than
.1.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seesr.data.samples import load_photos
from seesr.degradation import Degradation, preset
from seesr.metrics.lpips import Lpips
from seesr.metrics.texture import detail_kept, false_texture, local_deviation
from seesr.models.conv_tagger import ConvTagger
from seesr.models.enlarger import Enlarger
from seesr.training.losses import PerceptualLoss, texture_in_flats

MODEL = Path(__file__).resolve().parents[1] / "src/seesr/assets/mini"
KNOTS = (0.0, 0.5, 1.0)
SIDE, CONTEXT = 64, 12  # pixels of the photo that are measured, and around them
PRESETS = ("web", "phone", "camera", "web", "phone", "mild", "real-esrgan", "bicubic")
COLUMNS = ("L1", "DISTS", "features", "flat", "LPIPS", "false texture", "detail kept")
LEAST = 0.1  # largest difference of the objective that a sample counts with


def make_table(shards: list[str], output: Path, samples: int, seed: int) -> None:
    network = Enlarger.from_pretrained(MODEL / "enlarger", torch.bfloat16).to(memory_format=torch.channels_last)
    photos, score = load_photos(shards, 4), _scores()
    degradations = {name: Degradation(preset(name)) for name in PRESETS}
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(photos))
    rows: list[dict[str, Any]] = []
    output.parent.mkdir(parents=True, exist_ok=True)
    for number in range(samples):
        index, name = int(order[number % len(photos)]), PRESETS[int(rng.integers(len(PRESETS)))]
        height, width = (side - side % 4 for side in photos[index].pixels.shape[:2])
        hr = torch.tensor(photos[index].pixels[:height, :width]).permute(2, 0, 1)[None].float() / 255
        lr, hr = degradations[name](hr, torch.tensor([int(rng.integers(2**40))]))
        lr = (lr * 255).round() / 255
        y, x = (int(rng.integers(side - SIDE + 1)) for side in lr.shape[-2:])
        top, left = max(0, y - CONTEXT), max(0, x - CONTEXT)
        part = lr[..., top : y + SIDE + CONTEXT, left : x + SIDE + CONTEXT]
        clean = hr[..., 4 * y : 4 * (y + SIDE), 4 * x : 4 * (x + SIDE)]
        values = []
        for detail in KNOTS:
            enlarged = network.enlarge(part, detail=detail)[..., 4 * (y - top) :, 4 * (x - left) :]
            values.append(score(enlarged[..., : 4 * SIDE, : 4 * SIDE], clean))
        rows.append({"photo": index, "kind": name, "box": [y, x], "vals": values, "lr": (lr[0] * 255).byte()})
        if number % 20 == 19 or number == samples - 1:
            torch.save(rows, output)
            print(f"{number + 1} of {samples}", flush=True)


def _scores() -> Any:
    perception, lpips = PerceptualLoss(), Lpips()

    @torch.inference_mode()
    def score(picture: Tensor, clean: Tensor) -> list[float]:
        picture = (picture.float() * 255).round() / 255
        with torch.autocast("cpu", torch.bfloat16):
            found, distance = perception(picture, clean), lpips(picture, clean)
        flat = texture_in_flats(picture, local_deviation(clean))
        textures = false_texture(picture, clean), detail_kept(picture, clean)
        return [float(v) for v in (F.l1_loss(picture, clean), found.dists, found.features, flat, distance, *textures)]

    return score


def statistics(part: Tensor) -> Tensor:
    """What the pixels, (3, h, w) in [0, 1], say of noise, JPEG blocks and sharpness: (15,)."""
    red, green, blue = part * 255
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    half, flat, middle = _halved(luma), [0.1], [0.1, 0.5]
    centred = (luma - luma.mean())[None, None]
    spread = (F.avg_pool2d(centred**2, 5, 2) - F.avg_pool2d(centred, 5, 2) ** 2).clamp(min=0).sqrt()
    steps = [luma.diff(dim=dim).abs() for dim in (1, 0)]
    coarse = sum(half.diff(dim=dim).abs().mean() for dim in (1, 0))
    return torch.cat(
        [
            _noise(luma, middle),
            _noise(blue - luma, flat),
            _noise(red - luma, flat),
            _noise(half, middle),
            _noise(_halved(blue - luma), flat),
            _noise(_halved(half), flat),
            torch.log(spread.flatten().quantile(torch.tensor([0.1, 0.5, 0.9])) + 0.3),
            torch.stack([_blocks(steps[0].mean(0)), _blocks(steps[1].mean(1))]).clamp(max=1.5),
            torch.log((steps[0].mean() + steps[1].mean() + 0.2) / (coarse + 0.2))[None],
            luma.mean()[None] / 64,
        ]
    )


def _noise(plane: Tensor, quantiles: list[float]) -> Tensor:
    """Immerkaer's difference of two Laplacians (CVIU 64, 1996), in the flattest windows."""
    kernel = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    windows = F.avg_pool2d(F.conv2d(plane[None, None], kernel[None, None]).abs(), 8, 4).flatten()
    return torch.log(windows.quantile(torch.tensor(quantiles)) + 0.15)


def _halved(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane[None, None], 2)[0, 0]


def _blocks(profile: Tensor) -> Tensor:
    """How far one place in eight stands out among steps between neighbours, (n,)."""
    phases = profile[: len(profile) // 8 * 8].unflatten(0, (-1, 8)).mean(0)
    return torch.log((phases.amax() + 0.1) / (phases.median() + 0.1))


def along(values: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """Parabolas through (n, 3) values at `KNOTS`, at (n,) details."""
    t = detail - 0.5
    return (
        values[:, 1] + (values[:, 2] - values[:, 0]) * t + 2 * (values[:, 0] + values[:, 2] - 2 * values[:, 1]) * t**2
    )


def choice(files: list[Path], weight: float) -> None:
    from sklearn.ensemble import ExtraTreesRegressor

    rows = [row for file in files for row in torch.load(file, weights_only=False)]
    tagger, numbers, seen = ConvTagger.from_pretrained(MODEL / "tagger"), [], []
    for row in rows:
        lr, (y, x) = row["lr"].float() / 255, row["box"]
        numbers.append(statistics(lr[:, y : y + SIDE, x : x + SIDE]).numpy())
        with torch.inference_mode():
            seen.append(tagger(tagger.preprocess(lr[None])).image_embeds[0, 0].numpy())
    values, kinds = np.array([row["vals"] for row in rows]), np.array([row["kind"] for row in rows])
    count, folds = len(rows), np.array([row["photo"] for row in rows]) % 6
    goal = values[..., 1] + values[..., 2] / 4 + values[..., 0] / 2 + weight * values[..., 3]
    goal -= goal[:, 1:2]
    goal /= np.maximum(np.abs(goal).max(1, keepdims=True) / LEAST, 1)
    grid = np.linspace(0, 1, 21)
    costs = np.stack([along(goal, np.full(count, detail)) for detail in grid], 1)  # (n, 21)

    print(f"{count} samples\n\n| detail | {' | '.join(COLUMNS)} |\n|---{'|---' * len(COLUMNS)}|")
    for detail in (0, 0.25, 0.5, 0.6, 0.75, 1):
        means = [np.nanmean(along(values[..., k], np.full(count, detail))) for k in range(len(COLUMNS))]
        print(f"| {detail} | {' | '.join(f'{mean:.4g}' for mean in means)} |")
    fixed, best = costs.mean(0).min(), costs.min(1).mean()
    print(f"\nbest fixed detail {grid[costs.mean(0).argmin()]:.2f}; best by preset:")
    print({str(kind): float(grid[costs[kinds == kind].mean(0).argmin()].round(2)) for kind in np.unique(kinds)})
    centred = np.array(seen) - np.mean(seen, 0)
    components = centred @ np.linalg.svd(centred, full_matrices=False)[2][:32].T
    for name, given in (
        ("statistics", np.array(numbers)),
        ("embedding", components),
        ("both", np.hstack([np.array(numbers), components])),
    ):
        told = np.zeros_like(costs)
        for fold in range(6):
            trees = ExtraTreesRegressor(300, min_samples_leaf=6, random_state=0)
            told[folds == fold] = trees.fit(given[folds != fold], costs[folds != fold]).predict(given[folds == fold])
        share = (fixed - costs[np.arange(count), told.argmin(1)].mean()) / (fixed - best)
        print(f"{name}: {100 * share:.0f} % of what the best for each would gain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("table")
    table.add_argument("shards", nargs="+")
    table.add_argument("output", type=Path)
    table.add_argument("--samples", type=int, default=64)
    table.add_argument("--seed", type=int, default=0)
    chosen = commands.add_parser("choice")
    chosen.add_argument("tables", nargs="+", type=Path)
    chosen.add_argument("--weight", type=float, default=80, help="W, of texture where nothing is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "table":
        make_table(options.shards, options.output, options.samples, options.seed)
    else:
        choice(options.tables, options.weight)


if __name__ == "__main__":
    main()
