"""How long enlargers take for one tile, in float32 and bfloat16, in turns: the fastest of some runs.

    python benchmarks/enlarger_speed.py src/seesr/assets/mini/enlarger runs/quick/train/model --side 128 --threads 2

Folders of enlargers. Turns, because a machine's speed changes; the fastest, because other work only makes runs slower.
"""

import argparse
import time

import torch

from seesr.models.enlargers import load_enlarger

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("enlargers", nargs="+")
    parser.add_argument("--side", type=int, default=128, help="of the photo, in pixels")
    parser.add_argument("--batch", type=int, default=1, help="photos at a time; the seconds are of one")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks = {
        (name, precision): load_enlarger(name, dtype).to(memory_format=torch.channels_last)
        for name in options.enlargers
        for precision, dtype in PRECISIONS.items()
    }
    photos = torch.rand(options.batch, 3, options.side, options.side).contiguous(memory_format=torch.channels_last)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in networks}
    for _ in range(options.runs + 1):  # the first warms up
        for key, network in networks.items():
            start = time.perf_counter()
            network.enlarge(photos)
            seconds[key].append((time.perf_counter() - start) / options.batch)
    print(f"{options.side}x{options.side} to four times that, {options.batch} at a time, {options.threads} threads")
    print(f"| enlarger | {' | '.join(PRECISIONS)} |\n|---|{'---|' * len(PRECISIONS)}")
    for name in options.enlargers:
        cells = (f"{min(seconds[name, precision][1:]):.3f} s" for precision in PRECISIONS)
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
