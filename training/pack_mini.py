"""Put a trained model folder into the package as `mini`.

    python training/pack_mini.py runs/mini/prior-4/model --calm runs/mini/x4plus

Everything is stored as 8-bit integers, the enlarger in groups of 32, with the way to its calm end beside it; components
whose weights did not change keep their files.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from seesr import SeeSRPipeline
from seesr.checkpoints.model_folder import INDEX, mark_folder
from seesr.models import int8
from seesr.models.enlarger import Enlarger
from seesr.models.two_ends import FILE_NAME, TwoEnds
from seesr.restoration.profiles import ENLARGER_ONLY
from seesr.training.stages.prior import DIFFUSION_PROFILE

PACKAGE = Path(__file__).parents[1] / "src/seesr/assets/mini"
LARGEST = 64e6  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="folder that `seesr train prior` wrote")
    parser.add_argument("--calm", type=Path, required=True, help="folder of the enlarger's calm end")
    options = parser.parse_args()
    model: Path = options.model
    pipeline = SeeSRPipeline.from_pretrained(str(model))
    for name in ("enlarger", "vae", "tagger"):
        network: Any = getattr(pipeline, name)
        if not same(network, PACKAGE / name):
            network.save_pretrained(PACKAGE / name, int8=True, grouped=name == "enlarger")
    stored = Enlarger.from_pretrained(PACKAGE / "enlarger")
    TwoEnds.between(stored, Enlarger.from_pretrained(options.calm)).write(PACKAGE / "enlarger" / FILE_NAME)
    for name in ("unet", "controlnet", "text_encoder"):
        (PACKAGE / name).mkdir(exist_ok=True)
        getattr(pipeline, name).save_int8(PACKAGE / name)
        described = PACKAGE / name / "config.json"
        values = json.loads(described.read_text())
        values.pop("_name_or_path", None)  # where it lay when it was packed
        described.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(model / name, PACKAGE / name, dirs_exist_ok=True)
    index = json.loads((model / "model_index.json").read_text())
    index["profiles"] = {"diffusion": DIFFUSION_PROFILE.to_dict(), "fast": ENLARGER_ONLY.to_dict()}
    index["quick"] = json.loads((PACKAGE / INDEX).read_text()).get("quick", [None, None])  # of training/pack_quick.py
    (PACKAGE / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    mark_folder(PACKAGE)
    size = 0
    for file in sorted(PACKAGE.rglob("*.safetensors")):
        file.chmod(0o644)
        size += file.stat().st_size
        print(f"{file.stat().st_size / 1e6:6.1f} MB  {file.relative_to(PACKAGE)}")
    print(f"{size / 1e6:6.1f} MB")
    if size > LARGEST:
        raise SystemExit("too large to ship")


def same(network: Any, folder: Path) -> bool:
    """Whether the package holds this component already."""
    if not (folder / "config.json").is_file():
        return False
    config = {"_class_name": type(network).__name__, **vars(network.config)}
    if json.loads((folder / "config.json").read_text()) != json.loads(json.dumps(config)):
        return False
    stored = load_file(folder / "diffusion_pytorch_model.safetensors")
    weights, state = int8.dequantize(stored), network.state_dict()
    return weights.keys() == state.keys() and all(torch.equal(weights[name].float(), state[name]) for name in state)


if __name__ == "__main__":
    main()
