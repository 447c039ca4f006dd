"""What the text is worth to the diffusion part's prediction: right tags against none and against another photo's.

    python benchmarks/text_value.py runs/prior [--held PHOTOS] [--draws 2048]

RUN is the output folder of `seesr train prior`; its model is asked for the noise in training and in validation samples,
with ControlNet and embedding (`conditions`) and without (`alone`), at fixed draws, where there are tags. Differences
to the loss with the right tags are paired and in per cent of it, with their standard error over samples. What
helps on photos that were learned from and not on others has been learned by heart.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from seesr.data.samples import load_photos
from seesr.training import restorations
from seesr.training.config import load_config
from seesr.training.latents import LatentCrops, Latents, encode, tokenize
from seesr.training.stages.prior import PriorConfig, PriorStage

SEED = 77
HELD_SEED, HELD_SAMPLES = 11, 960


def differences(
    stage: Any, latents: Latents, draws: int, size: int, drop_conditions: float
) -> tuple[dict[str, Tensor], list[int]]:
    """Loss of each draw with the right, no and wrong tags, (draws,) each; and which sample each is of."""
    tokens = tokenize(stage.tokenizer, latents.tags)
    tagged = [number for number, text in enumerate(latents.tags) if text]
    others = []
    for number in range(len(latents)):  # the next sample that has tags, and none of this one's
        own = set(latents.tags[number].split(", "))
        following = [other for other in tagged if other > number] + tagged
        others.append(next((o for o in following if not own & set(latents.tags[o].split(", "))), number))
    found: dict[str, Tensor] = {}
    drawn: list[int] = []
    for name, text, drop_text in (("right", tokens, 0.0), ("no", tokens, 1.0), ("wrong", tokens[others], 0.0)):
        crops = LatentCrops(latents, text, size, SEED)
        numbers = [index for index in range(8 * draws) if latents.tags[crops.place(index)[0]]][:draws]
        losses = [
            stage.losses(default_collate([crops[index] for index in part]), drop_text, drop_conditions)
            for part in (numbers[start : start + 32] for start in range(0, draws, 32))
        ]
        found[name] = torch.cat(losses)
        drawn = [crops.place(index)[0] for index in numbers]
    return found, drawn


def gap(losses: dict[str, Tensor], other: str, drawn: list[int]) -> tuple[float, float]:
    """Mean of the paired difference in per cent of the loss with the right tags, and its standard error over samples,
    each of which may have been drawn several times."""
    right = float(losses["right"].mean())
    differences_of: dict[int, list[float]] = {}
    for number, value in zip(drawn, (losses[other] - losses["right"]).tolist()):
        differences_of.setdefault(number, []).append(value)
    total = sum(map(sum, differences_of.values()))
    mean = total / len(drawn)
    residuals = [sum(values) - mean * len(values) for values in differences_of.values()]
    error = math.sqrt(sum(residual**2 for residual in residuals)) / len(drawn)
    return 100 * mean / right, 100 * error / right


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--held", nargs="+", help="photos that RUN did not learn from")
    parser.add_argument("--config", type=Path, default=Path("configs/mini/prior.yaml"))
    parser.add_argument("--draws", type=int, default=2048)
    options = parser.parse_args()
    settings = settings_of(options.run) | {"output": options.run}
    settings |= {"start": options.run / "model", "text": options.run / "model"}
    config = load_config(PriorConfig, options.config, [f"{key}={value}" for key, value in settings.items()])
    stage: Any = PriorStage(config)
    print("| photos | beside | loss, right tags | no tags | wrong tags |\n|---|---|---|---|---|")
    sets = {"training": stage.training, "validation": stage.validation}
    if options.held:
        sets["held out"] = held_latents(options.run, stage, options.held)
    for name, latents in sets.items():
        for beside, drop_conditions in (("conditions", 0.0), ("alone", 1.0)):
            losses, drawn = differences(stage, latents, options.draws, config.size, drop_conditions)
            cells = ["{:+.3f} ± {:.3f} %".format(*gap(losses, other, drawn)) for other in ("no", "wrong")]
            print(f"| {name} | {beside} | {losses['right'].mean():.4f} | {' | '.join(cells)} |", flush=True)


def held_latents(run: Path, stage: Any, photos: list[str]) -> Latents:
    """Of photos that RUN did not learn from, restored as its own were; made and kept in RUN where they are not yet."""
    file, folder = run / "latents-held.safetensors", run / "restorations-held"
    if not file.is_file():
        made = json.loads((run / "restorations-train" / "settings.json").read_text())
        found = load_photos(photos, made["crop"], small="skip")
        settings = restorations.RestorationSettings(**made | {"seed": HELD_SEED, "photos": len(found)})
        shards = range(restorations.count(HELD_SAMPLES))
        restorations.fill(folder, found, settings, stage.enlarger, shards, dtype=torch.bfloat16)
        encode(folder, stage.vae, stage.tagger, torch.bfloat16).save(file)
    return Latents.load(file)


def settings_of(run: Path) -> dict[str, Any]:
    """Of the config, those that the samples of RUN were made with."""
    made = json.loads((run / "restorations-train" / "settings.json").read_text())
    settings = {name: made[name] for name in ("crop", "seed", "scale_jitter")} | {"size": made["crop"] // 8}
    settings |= {"samples": count(run, "train"), "validation_samples": count(run, "validation")}
    return settings | {"degradation": json.dumps(made["degradation"])}


def count(run: Path, name: str) -> int:
    """Samples that the run has made."""
    return 16 * len(list((run / f"restorations-{name}").glob("shard-*.safetensors")))


if __name__ == "__main__":
    main()
