"""Folder jobs with the embedded model: photos a second, memory over many photos, and how soon the first one is read.

    python benchmarks/folder.py [--photos 60] [--side 96] [--many 1000] [--files 100000] [--ext jpg]

Every line is a process of its own, `seesr upscale FOLDER`, on a folder made for it: noise, so that JPEG is not unfairly
quick. Memory is the process's resident size, sampled after every tenth of the photos.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image


def make_photos(folder: Path, count: int, side: int) -> Path:
    """Photos of one size in folders of a hundred."""
    draws = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"{i // 100:04d}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        low = Image.fromarray(draws.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8))
        low.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def make_names(folder: Path, count: int, ext: str) -> Path:
    """One small photo under many names, in folders of a thousand."""
    first = make_photos(folder / "a", 1, 32) / "0000" / "000000.jpg"
    Image.open(first).save(first.with_suffix(f".{ext}"))
    photo = first.with_suffix(f".{ext}").read_bytes()
    for i in range(count):
        path = folder / f"b{i // 1000:04d}" / f"{i:06d}.{ext}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo)
    return folder


def start(folder: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seesr.apps.cli", "upscale", str(folder), "-o", str(out), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def throughput(count: int, side: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run = start(make_photos(place / "in", count, side), place / "out")
        lines = run.communicate()[1].splitlines()
        print(f"throughput, {count} photos of {side}x{side} to {4 * side}x{4 * side}: {lines[-1]}")
        began = time.perf_counter()
        start(place / "in", place / "out").communicate()
        print(f"the same again, nothing to do: {time.perf_counter() - began:.1f} s")


def memory(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run = start(make_photos(place / "in", count, 32), place / "out", "--scale", "2")
        process, done, sizes = psutil.Process(run.pid), 0, []
        assert run.stderr is not None
        for line in run.stderr:
            done += "→" in line
            if "→" in line and done % (count // 10) == 0:
                sizes.append(process.memory_info().rss / 2**20)
        run.wait()
        print(f"memory over {count} photos, MiB after every tenth: {' '.join(f'{size:.0f}' for size in sizes)}")


def first_photo(count: int, ext: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_names(place / "in", count, ext)
        began = time.perf_counter()
        run = start(place / "in", place / "out", "--scale", "2")
        assert run.stderr is not None
        line = next((line for line in run.stderr if "→" in line), "nothing")
        size = psutil.Process(run.pid).memory_info().rss / 2**20
        print(
            f"first of {count} photos written after {time.perf_counter() - began:.1f} s, {size:.0f} MiB: {line.strip()}"
        )
        run.terminate()
        run.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("photos", 60), ("side", 96), ("many", 1000), ("files", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ext", default="jpg", help="of the many names")
    wanted = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    first_photo(1, wanted.ext)
    first_photo(wanted.files, wanted.ext)
    throughput(wanted.photos, wanted.side)
    memory(wanted.many)


if __name__ == "__main__":
    main()
