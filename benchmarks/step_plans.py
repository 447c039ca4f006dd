"""Quality against cost of plans for the steps: solver, number of steps, features used again (the setting `reuse`).

    python benchmarks/step_plans.py [--model mini] [--photos 12] [--settings fidelity=0] [-o runs/step-plans]

The photos are those of benchmarks/ablation.py, with the same noise for all plans. Cost is what the denoiser computes,
in steps of the whole networks (`seesr.restoration.estimate`), and the seconds that it took here. Quality is LPIPS,
DISTS and NIQE; differences to the first plan come with the standard error of the paired difference. Writes
`plans.csv`, a row a photo and plan, `plans.md` and `plans.png`.
"""

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib.pyplot as plt
import torch
from ablation import all_metrics, load_samples, measure

from seesr import SeeSRPipeline
from seesr.apps.estimates import estimate
from seesr.checkpoints.registry import resolve
from seesr.devices import choose_device, choose_dtype
from seesr.evaluation.baselines.seesr_model import parse_settings

PLANS = (
    *("ddpm:20", "ddpm:4", "ddpm:10", "ddpm:50"),
    *("dpm++:2", "dpm++:3", "dpm++:4", "dpm++:6", "dpm++:10", "dpm++:20"),
    *("ddpm:20:2", "ddpm:20:3", "ddpm:50:5", "dpm++:6:2", "dpm++:10:2", "dpm++:20:2", "dpm++:20:4"),
)
"""`solver:steps`, then, each after a `:`, in how many steps features are used again, `dense_ends`, `refine`."""

MEASURES = ("LPIPS", "DISTS", "NIQE")


@dataclass
class Plan:
    """What a plan takes and gives. cost: in steps of the whole networks. values: by measure, a photo each."""

    name: str
    cost: float = 0.0
    seconds: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})


def settings_of(plan: str) -> dict[str, Any]:
    given = plan.split(":")
    solver, steps, reuse, dense_ends, refine = given + ["", "", "1", "0", "0"][len(given) :]
    return {
        "scheduler": solver,
        "num_inference_steps": int(steps),
        "reuse": int(reuse),
        "dense_ends": float(dense_ends),
        "refine": float(refine),
    }


def cost_of(plan: str, model: Path, size: tuple[int, int], profile: str) -> float:
    """Operations of the denoiser, in those of one whole step."""

    def operations(settings: dict[str, Any]) -> float:
        needs = estimate(model, size, 4, torch.float32, profile=profile, given=settings)
        return next(stage.operations for stage in needs.stages if stage.name == "denoise")

    return operations(settings_of(plan)) / operations({"num_inference_steps": 1})


def table(plans: Sequence[Plan]) -> str:
    lines = [f"| plan | cost | s | {' | '.join(MEASURES)} |", "|---" * (3 + len(MEASURES)) + "|"]
    for plan in plans:
        cells = []
        for name in MEASURES:
            values, first = plan.values[name], plans[0].values[name]
            cell = f"{fmean(values):.4g}"
            if plan is not plans[0] and len(values) > 1:
                apart = [a - b for a, b in zip(values, first)]
                cell += f" ({fmean(apart):+.2g} ± {stdev(apart) / math.sqrt(len(apart)):.1g})"
            cells.append(cell)
        lines.append(f"| {plan.name} | {plan.cost:.1f} | {fmean(plan.seconds):.2f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(plans: Sequence[Plan], file: Path) -> None:
    """Each measure against cost; bars: the standard error of the difference to the first plan."""
    figure, axes = plt.subplots(1, len(MEASURES), figsize=(4.2 * len(MEASURES), 3.8), layout="constrained")
    kinds = {"ddpm": ("#5b6c8f", "o"), "dpm++": ("#c2532d", "s")}
    for axis, name in zip(axes, MEASURES):
        for plan in plans:
            solver, _, reuse = (*plan.name.split(":"), "")[:3]
            colour, marker = kinds.get(solver, ("#444444", "^"))
            apart = [a - b for a, b in zip(plan.values[name], plans[0].values[name])]
            error = stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else 0
            filled = colour if not reuse else "white"
            axis.errorbar(
                plan.cost, fmean(plan.values[name]), error, fmt=marker, color=colour, mfc=filled, ms=6, capsize=2, lw=1
            )
            axis.annotate(
                plan.name.partition(":")[2].replace(":", "/"),
                (plan.cost, fmean(plan.values[name])),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
            )
        costs = [plan.cost for plan in plans]
        limits = 0.85 * min(costs), 1.25 * max(costs)
        axis.set(xscale="log", xlim=limits, xlabel="cost, in whole steps", title=f"{name} ↓")
        axis.set_xticks(ticks := [2, 3, 5, 10, 20, 50], labels=map(str, ticks))
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    handles = [plt.Line2D([], [], color=c, marker=m, ls="", label=s) for s, (c, m) in kinds.items()]
    handles.append(plt.Line2D([], [], color="#444444", marker="o", mfc="white", ls="", label="features used again"))
    axes[0].legend(handles=handles, fontsize=7)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--profile", default="diffusion")
    parser.add_argument("--shards", nargs="+", default=["../shared/photos/val-0000.tar"])
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--size", type=int, default=256, help="side of the clean photo, a multiple of 32")
    parser.add_argument(
        "--plans",
        nargs="+",
        default=PLANS,
        help="solver:steps[:reuse[:dense_ends[:refine]]]; the first is compared with",
    )
    parser.add_argument("--settings", default="fidelity=0", help="KEY=VALUE,... of all plans, as for `seesr evaluate`")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/step-plans"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    pipeline: Any = SeeSRPipeline.from_pretrained(options.model, dtype=choose_dtype("auto", choose_device("cpu")))
    metrics = all_metrics()
    common = {"profile": options.profile} | parse_settings(options.settings)
    side = options.size // 4
    plans = [Plan(name, cost_of(name, resolve(options.model), (side, side), options.profile)) for name in options.plans]
    with (options.output / "plans.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "plan", "seconds", *MEASURES])
        for number, sample in enumerate(load_samples(pipeline, options.shards, options.size, options.photos, set())):
            for plan in plans:
                result = pipeline(sample.lr, **common, **settings_of(plan.name))
                values = measure(result.images[0], sample.clean, {name: metrics[name] for name in MEASURES})
                plan.seconds.append(result.timings[0]["denoise"])
                for name, value in values.items():
                    plan.values[name].append(value)
                writer.writerow([sample.name, plan.name, f"{plan.seconds[-1]:.3f}", *values.values()])
            file.flush()
            print(f"{number + 1}: {sample.name}", flush=True)
    text = table(plans)
    (options.output / "plans.md").write_text(text)
    draw(plans, options.output / "plans.png")
    print(text)


if __name__ == "__main__":
    main()
