"""How long a restoration takes on a quiet machine and beside a busy process, by how OpenMP's threads wait.

    python benchmarks/busy.py [--rounds 5] [--busy 1] [--dtype auto]

One row a setting: seconds for one 128 x 128 pixels with the embedded model, the best and the median of all runs. The
settings take turns in processes of their own, so that other work on the machine falls on all of them alike. `spin` is
what GNU's OpenMP does if nobody tells it anything, `sleep` is what `import seesr` sets, `brief` spins for ten thousand
rounds. A processor without bfloat16 units works as in `--dtype fp32`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from seesr.system.threads import wait_asleep

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "cat.jpg"
SETTINGS = {"spin": {"GOMP_SPINCOUNT": "300000"}, "sleep": {}, "brief": {"GOMP_SPINCOUNT": "10000"}}
_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_RUNS = 3  # restorations in a process, after one that is not counted


def one(dtype: str) -> None:
    """Restore the photo in this process and print the seconds of each run."""
    wait_asleep()  # which the settings prevent by variables of their own
    import torch
    from PIL import Image

    from seesr.devices import choose_dtype
    from seesr.loading import load_restorer

    device = torch.device("cpu")
    restorer = load_restorer("mini", choose_dtype(dtype, device), device, "fast")
    with Image.open(PHOTO) as file:
        photo = file.convert("RGB").crop((0, 0, 128, 128))
    restorer(photo)
    for _ in range(_RUNS):
        start = time.perf_counter()
        restorer(photo)
        print(time.perf_counter() - start)


def measure(setting: str, dtype: str) -> list[float]:
    """Seconds of each run in a fresh process with one of `SETTINGS`."""
    environment = {name: value for name, value in os.environ.items() if name not in _VARIABLES} | SETTINGS[setting]
    run = subprocess.run(
        [sys.executable, __file__, "--one", "--dtype", dtype],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return [float(line) for line in run.stdout.split()]


def table(title: str, rounds: int, dtype: str) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(rounds):
        for name, found in seconds.items():
            found += measure(name, dtype)
    for name, found in seconds.items():
        print(f"{title:12} {name:6} best {min(found):6.2f} s   median {statistics.median(found):6.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="processes for each setting")
    parser.add_argument("--busy", type=int, default=1, help="busy processes in the second part")
    parser.add_argument("--dtype", default="auto", help="number format, as of `seesr upscale`")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.dtype)
        return
    table("quiet", options.rounds, options.dtype)
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        table(f"beside {options.busy}", options.rounds, options.dtype)
    finally:
        for other in others:
            other.kill()


if __name__ == "__main__":
    main()
