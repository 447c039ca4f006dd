"""What the text is worth against the number of photos it was learned from: the cross-attention to the text learns anew.

    python benchmarks/text_curve.py runs/prior --held runs/tags-held.tar --photos 66 266 1066 [--steps 800]

RUN is the output folder of `seesr train prior`. The attentions to the text of the shipped model are drawn anew and
learn, on RUN's restorations of the first so many photos in a fixed random order, for the same number of steps; all
else stays as it is. The text tower is as shipped. Then the loss is asked at fixed draws on the photos learned from, on
RUN's validation photos and on yet other ones (`--held`), as `text_value.py` does: what no tags and another photo's cost
against the right ones, in per cent, paired, the standard error over samples. Adds rows to `curve.csv` and
draws all that stand there, `curve.png`.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import ScalarFormatter
from text_value import differences, gap, held_latents, settings_of

from seesr.data.samples import load_photos
from seesr.training import loop, restorations
from seesr.training.config import load_config
from seesr.training.latents import Latents
from seesr.training.stages.prior import PriorConfig, PriorStage

COLUMNS = ("photos", "samples", "set", "beside", "right", "none", "none_error", "wrong", "wrong_error")


class SomePhotos(PriorStage):
    """Learns from the first `photos` of them in a fixed order."""

    def __init__(self, config: PriorConfig, photos: int):
        super().__init__(config)
        names = of_photos(config.photos, config.crop, self.folder / "restorations-train", config.samples)
        chosen = np.random.default_rng(0).permutation(sorted(set(names)))[:photos]
        self.training = subset(self.training, np.isin(names, chosen))
        self.samples = self._crops(self.training)


def of_photos(sources: list[str], crop: int, folder: Path, samples: int) -> np.ndarray:
    """Which photo each restoration of a folder is of; several crops are of one photo."""
    photos = load_photos(sources, crop, small="skip")
    names = np.array([str(photo.info.get("file", Path(photo.name).name)) for photo in photos])
    return names[restorations.read(folder, ("photo",))["photo"][:samples].numpy()]


def subset(latents: Latents, chosen: np.ndarray) -> Latents:
    numbers = torch.from_numpy(np.flatnonzero(chosen))
    parts = {name: getattr(latents, name)[numbers] for name in ("clean", "enlarged", "image_embeds")}
    return replace(latents, **parts, tags=[latents.tags[number] for number in numbers.tolist()])


def learn(photos: int, options: argparse.Namespace) -> tuple[PriorConfig, Latents]:
    """Trains; the config of a stage that starts from what was learned, and the samples that it was learned from."""
    output = options.output / str(photos)
    output.mkdir(exist_ok=True)
    for kind in ("train", "validation"):  # the stage looks for its samples in its own folder
        for found in [*options.run.glob(f"latents-{kind}-*"), options.run / f"restorations-{kind}"]:
            place = output / found.name
            if not place.exists():
                place.symlink_to(found.resolve())
    settings = settings_of(options.run) | {
        "output": output,
        "start": options.start,
        "text": "src/seesr/assets/mini",
        "photos": f"[{', '.join(options.sources)}]",
        "small_photos": "skip",
        "text_attention_only": True,
        "steps": options.steps,
        "threads": options.threads,
        "drop_text": 0.25,
        "drop_tags": options.drop_tags,
        "drop_conditions": 0.5,
        "drop_embedding": 0.2,
        "warmup_steps": 50,
        "ema_decay": 0.99,
    }
    config = load_config(PriorConfig, options.config, [f"{key}={value}" for key, value in settings.items()])
    stages: list[SomePhotos] = []

    def make() -> SomePhotos:
        stages.append(SomePhotos(config, photos))
        return stages[-1]

    loop.train(make, config)
    model = str(output / "model")
    return replace(config, start=model, text=model, text_attention_only=False), stages[-1].training


def plot(table: Path) -> None:
    """What no tags cost, beside the conditions and alone, against the number of photos."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, constrained_layout=True)
    for panel, beside in zip(panels, ("conditions", "alone")):
        for name in dict.fromkeys(row["set"] for row in rows):
            points = sorted(
                (int(row["photos"]), float(row["none"]), float(row["none_error"]))
                for row in rows
                if (row["set"], row["beside"]) == (name, beside)
            )
            panel.errorbar(*zip(*((x, y) for x, y, _ in points)), yerr=[e for *_, e in points], marker="o", label=name)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set(xscale="log", xlabel="photos", title=f"the text beside the {beside}" if beside != "alone" else beside)
        panel.set_xticks(sorted({int(row["photos"]) for row in rows}), labels=None)
        panel.get_xaxis().set_major_formatter(ScalarFormatter())
        panel.minorticks_off()
    panels[0].set_ylabel("right tags save, % of the loss")
    panels[1].legend(frameon=False)
    figure.savefig(table.with_suffix(".png"), dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--held", nargs="+", help="photos that RUN did not learn from")
    parser.add_argument("--photos", type=int, nargs="+", default=[66, 266, 533, 1066])
    parser.add_argument("--sources", nargs="+", default=["../shared/photos/train-*.tar"], help="what RUN learned from")
    parser.add_argument("--config", type=Path, default=Path("configs/mini/prior.yaml"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--drop-tags", type=float, default=0.0, help="as the stage's `drop_tags`")
    parser.add_argument("--start", default="mini", help="model whose attentions to the text are drawn anew")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draws", type=int, default=1024)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/text-curve"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.output / "curve.csv"
    if not table.exists():
        table.write_text(",".join(COLUMNS) + "\n")
    for photos in options.photos:
        config, learned_from = learn(photos, options)
        stage: Any = PriorStage(config)
        sets = {"learned from": learned_from, "validation": stage.validation}
        if options.held:
            sets["held out"] = held_latents(options.run, stage, options.held)
        with table.open("a", newline="") as file:
            for name, latents in sets.items():
                for beside, drop_conditions in (("conditions", 0.0), ("alone", 1.0)):
                    with torch.no_grad():
                        losses, drawn = differences(stage, latents, options.draws, config.size, drop_conditions)
                    row = [photos, len(learned_from), name, beside, f"{float(losses['right'].mean()):.5f}"]
                    for other in ("no", "wrong"):
                        row += [f"{value:.4f}" for value in gap(losses, other, drawn)]
                    csv.writer(file).writerow(row)
                    print(*row, flush=True)
    plot(table)


if __name__ == "__main__":
    main()
