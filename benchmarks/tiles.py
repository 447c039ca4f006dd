"""What the size of the enlarger's tiles costs: pixels worked on twice, time and memory, for one photo.

    python benchmarks/tiles.py --engine quick --photo 640x480 --tiles 256 384 480 640

Each size in a process of its own, so that its peak memory is its own; the fastest of some runs, in turns. `squares`:
tiles of 256x256 as they would lie over the photo, in place of tiles whose shape fits it.
"""

import argparse
import json
import math
import subprocess
import sys
import time

import torch

from seesr.checkpoints.registry import resolve
from seesr.models.enlargers import load_enlarger
from seesr.system.machine import hardware
from seesr.tiling.geometry import even_starts

FOLDERS = {"quick": "quick", "fine": "enlarger"}


def one(engine: str, width: int, height: int, tile: int, threads: int, dtype: str) -> dict[str, float]:
    """Seconds, peak bytes and pixels worked on, with tiles of at most `tile` squared pixels; 0: squares of 256."""
    import resource

    torch.set_num_threads(threads)
    network = load_enlarger(resolve("mini") / FOLDERS[engine], getattr(torch, dtype)).to(
        memory_format=torch.channels_last
    )
    if tile == 0:
        rows, columns = min(256, height), min(256, width)
        network.tile_shape = lambda *_: (rows, columns, network.overlap)  # type: ignore[method-assign]
    down, across, overlap = network.tile_shape(height, width, tile)
    count = len(even_starts(height, down, overlap)) * len(even_starts(width, across, overlap))
    photo = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    network.enlarge_tile(photo[..., :32, :32])  # kernels
    start = time.perf_counter()
    network.enlarge(photo, tile or 256)
    seconds = time.perf_counter() - start
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak": peak, "tiles": count, "down": down, "across": across}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=FOLDERS, default="quick")
    parser.add_argument("--photo", default="640x480", metavar="WIDTHxHEIGHT")
    parser.add_argument("--tiles", nargs="+", type=int, default=[256, 384, 480, 640])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # of one size, in a process of its own
    options = parser.parse_args()
    width, height = map(int, options.photo.split("x"))
    if options.one is not None:
        print(json.dumps(one(options.engine, width, height, options.one, options.threads, options.dtype)))
        return
    sizes, found = [0, *options.tiles], {}
    for _ in range(options.runs):
        for size in sizes:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", str(size)]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            found[size] = min(found.get(size, result), result, key=lambda each: each["seconds"])
    print(f"{options.engine}, {width}x{height}, {options.dtype}, {options.threads} threads; {hardware()}")
    print("| tiles | of | pixels worked on | seconds | peak of the process |\n|---|---|---|---|---|")
    for size in sizes:
        each = found[size]
        worked = each["tiles"] * math.prod((each["down"], each["across"])) / (width * height)
        name = f"{size}²" if size else "squares"
        print(
            f"| {name} | {each['tiles']:.0f} of {each['across']:.0f}x{each['down']:.0f} | {worked:.2f} x | "
            f"{each['seconds']:.1f} | {each['peak'] / 1e6:.0f} MB |"
        )


if __name__ == "__main__":
    main()
