"""How long a restoration takes and how much memory: cold, as the command, and warm, with the model loaded.

    python benchmarks/restore.py [--model mini] [--size 128] [--runs 5]

Prints medians. The photo is an example scaled to SIZE x SIZE; cold runs include starting Python and loading the model.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg"


def cold(model: str, photo: Path, out: Path) -> tuple[float, float, float]:
    """Seconds of one `seesr upscale` by the clock and of all processors, and its peak memory in MB."""
    command = [sys.executable, "-m", "seesr.apps.cli", "upscale", str(photo), "-o", str(out), "--model", model]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()

    picture = Image.open(EXAMPLE).convert("RGB").resize((options.size, options.size), Image.Resampling.BICUBIC)
    with tempfile.TemporaryDirectory() as folder:
        photo, out = Path(folder) / "photo.png", Path(folder) / "out.png"
        picture.save(photo)
        runs = [cold(options.model, photo, out) for _ in range(options.runs)]
    seconds, processor, memory = (statistics.median(values) for values in zip(*runs))
    print(f"{options.size}x{options.size}, {options.model}: cold {seconds:.1f} s")
    print(f"  of the processors {processor:.1f} s, peak memory {memory:.0f} MB")

    from seesr import SeeSRPipeline
    from seesr.devices import choose_device, choose_dtype

    dtype = choose_dtype("auto", choose_device("auto"))  # as the command does
    pipeline = SeeSRPipeline.from_pretrained(options.model, dtype=dtype)
    pipeline(picture)  # the first run chooses kernels
    times = []
    for _ in range(options.runs):
        start = time.perf_counter()
        pipeline(picture)
        times.append(time.perf_counter() - start)
    print(f"model loaded {statistics.median(times):.2f} s (from {min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    main()
