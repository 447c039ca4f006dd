"""Put a trained enlarger of few blocks into the package as `mini`'s engine `quick`, in 8 bits, in groups of 32.

python training/pack_quick.py runs/quick/four/model --calm runs/quick/taught/model
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pack_mini import PACKAGE

from seesr.checkpoints.model_folder import INDEX
from seesr.models.enlargers import load_enlarger
from seesr.models.two_ends import TwoEnds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="folder that `seesr train enlarger` wrote")
    parser.add_argument(
        "--anchor", type=int, default=16, help="side of the squares whose colour is the photo's, see `anchored`"
    )
    parser.add_argument("--calm", type=Path, help="folder of a calmer training: the other end of the setting `detail`")
    options = parser.parse_args()
    trained: Any = load_enlarger(options.model)
    network = type(trained)(**{**vars(trained.config), "anchor": options.anchor})
    network.load_state_dict(trained.state_dict())
    if options.calm:
        network.ends = TwoEnds.between(network, load_enlarger(options.calm))
    network.save_pretrained(PACKAGE / "quick", int8=True, grouped=True)
    index = json.loads((PACKAGE / INDEX).read_text())
    index["quick"] = ["seesr", type(network).__name__]
    (PACKAGE / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    for file in sorted((PACKAGE / "quick").glob("*.safetensors")):
        file.chmod(0o644)
        print(f"{file.stat().st_size / 1e6:6.1f} MB  {file.relative_to(PACKAGE)}")


if __name__ == "__main__":
    main()
