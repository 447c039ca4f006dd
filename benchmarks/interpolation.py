"""Validate weights between two enlargers of one architecture, and keep the ones that measure best.

    python benchmarks/interpolation.py START TUNED --weight 0 0.25 0.5 0.75 1 --photos 16
    python benchmarks/interpolation.py START TUNED --weight 0.5 --photos 64 --save src/seesr/assets/mini/enlarger
    python benchmarks/interpolation.py START TUNED --weight 0 1 --preset bicubic    # clean photos, merely reduced

START and TUNED are Enlarger folders; a weight of 0 is START. The photos and their degradation are those of training's
validation (configs/mini/enlarger.yaml), never a test set. Network interpolation: ESRGAN, arXiv 1809.00219, section 3.4.
"""

import argparse
from pathlib import Path

from seesr.models.enlarger import Enlarger, interpolate_weights
from seesr.training.config import load_config
from seesr.training.stages.enlarger import EnlargerConfig, EnlargerStage

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "mini" / "enlarger.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path)
    parser.add_argument("tuned", type=Path)
    parser.add_argument("--weight", type=float, nargs="+", required=True)
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--preset", help="one degradation for all photos, instead of the mixture")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    if options.save and len(options.weight) != 1:
        parser.error("--save takes one --weight")

    config = load_config(EnlargerConfig, CONFIG, [f"validation_samples={options.photos}"])
    config.photos = config.validation_photos  # nothing is trained here
    if options.preset:
        config.degradation = {options.preset: 1.0}
    stage = EnlargerStage(config)
    start, tuned = (Enlarger.from_pretrained(folder).state_dict() for folder in (options.start, options.tuned))
    print("| weight | PSNR-Y | LPIPS | DISTS | NIQE |\n|---|---|---|---|---|")
    for weight in options.weight:
        stage.generator.load_state_dict(interpolate_weights(start, tuned, weight))
        metrics, _ = stage.validate(final=False)
        values = f"{metrics['psnr_y']:.2f} | {metrics['lpips']:.4f} | {metrics['dists']:.4f} | {metrics['niqe']:.2f}"
        print(f"| {weight} | {values} |", flush=True)
    if options.save:
        stage.save(options.save)


if __name__ == "__main__":
    main()
