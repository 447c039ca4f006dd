"""What a figure was made on: hardware and versions, as plain JSON types."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import seesr


def versions() -> dict[str, str]:
    """Of this package and of those that can change a figure; what is not installed is left out."""
    found = {"seesr": seesr.__version__}
    for name in ("torch", "diffusers", "transformers", "numpy", "pillow", "scipy", "ncnn", "spandrel", "pyiqa"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str) -> dict[str, Any]:
    """The machine that this process runs on; `device`: `cpu`, or `cuda` with an index or without."""
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return found


def hardware() -> str:
    """What the time of a restoration depends on, in words: graphics card if there is one, processor, threads."""
    threads = torch.get_num_threads()
    cards = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([*cards, _processor(), f"{threads} thread{'s' if threads > 1 else ''}"])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
