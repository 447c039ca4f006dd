"""Put a trained compact enlarger into the package as `mini`'s engine `quick`, in half precision.

    python training/pack_quick.py runs/quick/gan/model --calm runs/quick/perc/model

`--calm`: weights of the same training before its adversarial terms, to which the setting `detail` leads.
"""

import argparse
import json
from pathlib import Path

from pack_mini import PACKAGE

from seesr.checkpoints.model_folder import INDEX
from seesr.models.compact_enlarger import CompactEnlarger
from seesr.models.two_ends import TwoEnds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="folder that `seesr train enlarger` wrote")
    parser.add_argument("--calm", type=Path, help="folder of the calm end")
    options = parser.parse_args()
    network = CompactEnlarger.from_pretrained(options.model)
    if options.calm is not None:
        network.ends = TwoEnds.between(network, CompactEnlarger.from_pretrained(options.calm))
    network.half().save_pretrained(PACKAGE / "quick")
    index = json.loads((PACKAGE / INDEX).read_text())
    index["quick"] = ["seesr", type(network).__name__]
    (PACKAGE / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    for file in sorted((PACKAGE / "quick").glob("*.safetensors")):
        file.chmod(0o644)
        print(f"{file.stat().st_size / 1e6:6.1f} MB  {file.relative_to(PACKAGE)}")


if __name__ == "__main__":
    main()
