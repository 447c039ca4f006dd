"""The start of `mini`'s engine `quick`: a trained enlarger with few of its blocks (`seesr.models.pruning`).

python training/prune_enlarger.py src/seesr/assets/mini/enlarger runs/quick/four-start --keep 0 1 12 22 --detail 0.6
"""

import argparse
from pathlib import Path

from seesr.models.enlarger import Enlarger
from seesr.models.pruning import pruned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("enlarger", type=Path, help="folder of a trained enlarger")
    parser.add_argument("output", type=Path)
    parser.add_argument("--keep", type=int, nargs="+", default=[0, 1, 12, 22], help="blocks, from 0")
    parser.add_argument("--detail", type=float, default=0.6, help="where between its ends the enlarger is taken")
    options = parser.parse_args()
    network = Enlarger.from_pretrained(options.enlarger)
    if network.ends is not None:
        network.ends.move(network, options.detail)
    pruned(network, options.keep).save_pretrained(options.output)


if __name__ == "__main__":
    main()
