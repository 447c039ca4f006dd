"""Software, machine, photo formats and optional packages."""

import os
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from seesr.apps.doctor.report import ABSENT, OK, PROBLEM, Report

EXTRAS = {
    "train": "seesr train",
    "eval": "seesr evaluate with other methods, seesr semantics and plots",
    "iqa": "FID, MUSIQ, MANIQA and CLIPIQA in seesr evaluate (pyiqa, not for commercial use)",
    "export": "seesr export onnx",
    "heic": "HEIC, the format of many phones' photos",
    "lowbit": "training with an 8-bit optimiser",
    "stream": "training from shards on a server",
    "study": "plots of seesr study",
}
"""What an extra unlocks; one that is not named here is shown with its packages."""

FOR_DEVELOPERS = ("test", "dev")


def examine_packages(report: Report) -> None:
    """Python and the packages seesr cannot do without, in versions it can use."""
    from packaging.requirements import Requirement

    report.add("Software", "seesr", OK, f"{version('seesr')}, Python {platform.python_version()}, {platform.system()}")
    found = {}
    for requirement in map(Requirement, requires("seesr") or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found[requirement.name] = version(requirement.name)
        except PackageNotFoundError:
            report.add("Software", requirement.name, PROBLEM, "not installed", f"pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(found[requirement.name], prereleases=True):
            text = f"{found[requirement.name]} is too old, {requirement.specifier} is needed"
            report.add("Software", requirement.name, PROBLEM, text, f"pip install -U '{requirement}'")
    try:
        import torch  # noqa: F401  its compiled parts may not fit this machine
    except (ImportError, OSError) as error:
        report.add("Software", "torch", PROBLEM, f"cannot be imported: {error}", "see https://pytorch.org/get-started")
    text = ", ".join(f"{name} {found[name]}" for name in ("torch", "diffusers", "transformers") if name in found)
    report.add("Software", "packages", OK, text)


def examine_machine(report: Report) -> None:
    import psutil
    import torch

    from seesr.checkpoints.download import gigabytes
    from seesr.devices import CLEARLY_FASTER, choose_device, choose_dtype, probe_cpu
    from seesr.system.cache import cache_root

    name = _processor()
    cores, used = psutil.cpu_count(logical=False) or os.cpu_count() or 1, torch.get_num_threads()
    report.add("Machine", "processor", OK, f"{name}, {cores} cores, {used} used")
    memory = psutil.virtual_memory()
    text = f"{gigabytes(memory.available)} of {gigabytes(memory.total)} free"
    report.add("Machine", "memory", OK, text)
    device = choose_device()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        text = f"{torch.cuda.get_device_name(device)}, {gigabytes(free)} of {gigabytes(total)} free"
        report.add("Machine", "graphics", OK, text)
    elif device.type == "mps":
        report.add("Machine", "graphics", OK, "Apple's, through MPS")
    else:
        build = "; this PyTorch is built without CUDA" if torch.version.cuda is None else ""
        report.add("Machine", "graphics", ABSENT, f"none that PyTorch can use{build}")
    dtype = choose_dtype("auto", device)
    if device.type != "cpu":
        text = f"{_short(dtype)}: half the memory of fp32"
    elif not (gain := probe_cpu().gain):
        text = "fp32: this processor does not multiply bf16 itself"
    elif dtype == torch.bfloat16:
        text = f"bf16: {gain:.1f} times as fast as fp32 in a probe"
    else:
        text = f"fp32: bf16 is {gain:.1f} times as fast in a probe, less than {CLEARLY_FASTER}"
    report.add("Machine", "--dtype auto", OK, text)
    root = cache_root()
    here = next(parent for parent in (root.absolute(), *root.absolute().parents) if parent.is_dir())
    text = f"{gigabytes(shutil.disk_usage(here).free)} free for models in {_tilde(root)}"
    if os.access(here, os.W_OK):
        report.add("Machine", "disk", OK, text)
    else:
        remedy = "set SEESR_CACHE to a folder you can write to"
        report.add("Machine", "disk", ABSENT, f"{_tilde(here)} cannot be written to", remedy)


def examine_formats(report: Report) -> None:
    """Photo formats that depend on how Pillow was built; HEIC is one of the extras."""
    from PIL import features

    built = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff", "AVIF": "avif"}
    names = [name for name, feature in built.items() if features.check(feature)]
    missing = [name for name in built if name not in names]
    report.add("Photos", "formats", OK, ", ".join(names))
    if missing:
        report.add("Photos", ", ".join(missing), ABSENT, "this Pillow is built without", "pip install -U pillow")


def examine_extras(report: Report) -> None:
    """Optional packages by extra."""
    from packaging.requirements import Requirement

    packages: dict[str, list[str]] = {}
    for requirement in map(Requirement, requires("seesr") or []):
        if match := re.search(r"""extra == ['"]([^'"]+)""", str(requirement.marker or "")):
            packages.setdefault(match[1], []).append(requirement.name)
    for extra, names in packages.items():
        if extra in FOR_DEVELOPERS:
            continue
        unlocks = EXTRAS.get(extra, ", ".join(names))
        missing = [name for name in names if name != "seesr" and not _installed(name)]
        if missing:
            text = f"{unlocks}; lacks {', '.join(missing)}"
            report.add("Extras", extra, ABSENT, text, f"pip install 'seesr[{extra}]'")
        else:
            report.add("Extras", extra, OK, unlocks)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _short(dtype: Any) -> str:
    from seesr.devices import DTYPES

    return next(name for name, each in DTYPES.items() if each == dtype)


def _tilde(path: Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if len(home) > 1 and str(path).startswith(home) else str(path)
