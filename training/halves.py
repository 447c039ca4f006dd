"""Split a shard in two: samples with an even number to learn from, those with an odd one held out.

python training/halves.py ../shared/photos/tags-0000.tar runs/tags-learn.tar runs/tags-held.tar
"""

import argparse
import re
import tarfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shard", type=Path)
    parser.add_argument("even", type=Path)
    parser.add_argument("odd", type=Path)
    options = parser.parse_args()
    with (
        tarfile.open(options.shard) as shard,
        tarfile.open(options.even, "w") as even,
        tarfile.open(options.odd, "w") as odd,
    ):
        for member in shard:
            number = re.match(r"\d+", Path(member.name).name)
            if member.isfile() and number:
                (odd if int(number[0]) % 2 else even).addfile(member, shard.extractfile(member))


if __name__ == "__main__":
    main()
