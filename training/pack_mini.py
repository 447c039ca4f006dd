"""Put a trained model folder into the package as `mini`: python training/pack_mini.py runs/prior/model

Enlarger in float16, everything else as 8-bit integers; components whose weights did not change
keep their files.
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
from seesr.restoration.profiles import ENLARGER_ONLY
from seesr.training.stages.prior import DIFFUSION_PROFILE

PACKAGE = Path(__file__).parents[1] / "src/seesr/assets/mini"
LARGEST = 64e6  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="folder that `seesr train prior` wrote")
    model = parser.parse_args().model
    pipeline = SeeSRPipeline.from_pretrained(str(model))
    for name in ("enlarger", "vae", "tagger"):
        network: Any = getattr(pipeline, name)
        as_integers = name != "enlarger"  # whose pictures would change by some levels
        if not same(network, PACKAGE / name, as_integers):
            (network if as_integers else network.half()).save_pretrained(PACKAGE / name, int8=as_integers)
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


def same(network: Any, folder: Path, as_integers: bool) -> bool:
    """Whether the package holds this component already, stored that way."""
    if not (folder / "config.json").is_file():
        return False
    config = {"_class_name": type(network).__name__, **vars(network.config)}
    if json.loads((folder / "config.json").read_text()) != json.loads(json.dumps(config)):
        return False
    stored = load_file(folder / "diffusion_pytorch_model.safetensors")
    if as_integers != any(name.endswith(int8.SCALE_SUFFIX) for name in stored):
        return False
    weights, state = int8.dequantize(stored), network.state_dict()
    return weights.keys() == state.keys() and all(torch.equal(weights[name].float(), state[name]) for name in state)


if __name__ == "__main__":
    main()
