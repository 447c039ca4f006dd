"""`seesr doctor`: what is here, what is missing, what a restoration would need, and the command that mends it."""

import json
import os
import platform
import re
import shutil
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer

from seesr.errors import SeesrError

EXTRAS = {
    "train": "seesr train",
    "eval": "seesr evaluate with learned metrics, other methods and plots",
    "heic": "HEIC, the format of many phones' photos",
    "lowbit": "training with an 8-bit optimiser",
    "stream": "training from shards on a server",
    "study": "plots of seesr study",
}
"""What an extra unlocks; one that is not named here is shown with its packages."""

FOR_DEVELOPERS = ("test", "dev")

EFFICIENCY = {"denoise": 0.5}
OTHER_EFFICIENCY = 0.8
"""Of the rate of one convolution that a stage reaches, measured on one core: the embedded enlarger and the full-size
UNet with its attention (docs/benchmarks.md)."""

OK, ABSENT, PROBLEM = "ok", "absent", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report. state: "absent" is no fault; "problem" is. remedy: what to do, often a command."""

    section: str
    name: str
    state: str
    text: str
    remedy: str = ""


@dataclass
class Report:
    """All findings; `photo` has the figures behind the photo's section."""

    findings: list[Finding] = field(default_factory=list)
    photo: dict[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        return not any(finding.state == PROBLEM for finding in self.findings)

    def add(self, section: str, name: str, state: str, text: str, remedy: str = "") -> None:
        self.findings.append(Finding(section, name, state, text, remedy))


def doctor(
    photo: Annotated[
        Path | None, typer.Argument(help="What would restoring this one need?", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option(help="The model you want to use: as for upscale.")] = "mini",
    scale: Annotated[float, typer.Option(help="Of width and height.")] = 4.0,
    verify: Annotated[bool, typer.Option("--verify", help="Read all weights and compare hashes; slow.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Tell what is here, what is missing, and how to mend it. Exit code 0 if MODEL can be used, else 1."""
    report = examine(model, photo, scale, verify)
    if as_json:
        typer.echo(json.dumps({"usable": report.usable, **asdict(report)}, indent=2))
    else:
        show(report, model)
    raise typer.Exit(0 if report.usable else 1)


def examine(model: str, photo: Path | None = None, scale: float = 4.0, verify: bool = False) -> Report:
    """Look at this machine, the models and, with a photo, at what restoring it with `model` would take."""
    report = Report()
    _packages(report)
    if not report.usable:  # nothing below would run
        return report
    _machine(report)
    folder = _models(report, model, verify)
    _formats(report)
    _extras(report)
    if photo is not None:
        _photo(report, photo, model, folder, scale)
    return report


# ---------------------------------------------------------------------------------------------------- the parts


def _packages(report: Report) -> None:
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


def _machine(report: Report) -> None:
    import psutil
    import torch

    from seesr.checkpoints.download import gigabytes
    from seesr.checkpoints.sources import cache_root
    from seesr.devices import CLEARLY_FASTER, choose_device, choose_dtype, probe_cpu

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


def _models(report: Report, wanted: str, verify: bool) -> Path | None:
    """The models by name and the wanted one; returns the folder of the wanted one if it can be used."""
    from seesr.checkpoints.download import find_locally, gigabytes
    from seesr.checkpoints.registry import BUILT, EMBEDDED, built_folder, is_built, is_hub_id, resolve
    from seesr.checkpoints.sources import VARIABLE, weights_of

    usable: Path | None = None
    for name in dict.fromkeys((*EMBEDDED, *BUILT, wanted)):
        state = PROBLEM if name in (wanted, *EMBEDDED) else ABSENT
        if name in BUILT and not is_built(name):
            try:
                lacking = sum(weight.size for weight in weights_of(name) if find_locally(weight) is None)
            except SeesrError as error:
                report.add(
                    "Models", name, PROBLEM if name == wanted else ABSENT, str(error), f"mend or unset {VARIABLE}"
                )
                continue
            state = PROBLEM if name == wanted else ABSENT
            text = f"not here, {gigabytes(lacking)} to fetch" if lacking else "fetched, to be built"
            report.add("Models", name, state, text, f"seesr download {name}")
            continue
        if is_hub_id(name):
            report.add("Models", name, OK, "on the hub, fetched at first use; not looked at")
            continue
        try:
            folder = built_folder(name) if name in BUILT else resolve(name)
            size, kind = check_model(folder, verify)
        except SeesrError as error:
            report.add("Models", name, state, str(error), _remedy(name))
            continue
        hashed = ", every number read" if verify else ""
        report.add("Models", name, OK, f"{kind}, {gigabytes(size)}, whole{hashed}")
        if name == wanted:
            usable = folder
    if overlay := os.environ.get(VARIABLE):
        report.add("Models", VARIABLE, OK, f"sources of your own: {overlay}")
    if os.environ.get("HF_HUB_OFFLINE"):
        report.add("Models", "HF_HUB_OFFLINE", OK, "set: nothing is downloaded")
    return usable


def check_model(folder: Path, verify: bool = False) -> tuple[int, str]:
    """Bytes of a model folder and what kind it is, after comparing the names and shapes of all its tensors.

    Args:
        verify: compare every file with the hash recorded when the model was built, or, where there is no record, read
            every tensor and look for NaN and infinity.

    Raises:
        SeesrError: a file is missing, cut short or damaged, or a tensor does not fit. The message names it.
    """
    from safetensors import SafetensorError, safe_open

    from seesr.checkpoints.files import check_finite, find_weights, report_mismatch
    from seesr.checkpoints.registry import read_record
    from seesr.checkpoints.transfer import sha256_of
    from seesr.estimate import meta_networks
    from seesr.models.int8 import SCALE_SUFFIX

    networks = meta_networks(folder)
    record = read_record(folder)
    for name, network in networks.items():
        weights = find_weights(folder / name)
        expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        try:
            with safe_open(weights, "pt") as file:
                names = [key for key in file.keys() if not key.endswith(SCALE_SUFFIX)]  # noqa: SIM118
                shapes = {key: tuple(file.get_slice(key).get_shape()) for key in names}
                if verify and record is None:
                    check_finite({key: file.get_tensor(key) for key in file.keys()}, weights)  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise SeesrError(f"{weights}: damaged or cut short ({error})") from error
        shapes = {key.removeprefix("text_model.") if key not in expected else key: s for key, s in shapes.items()}
        spare = [key for key in shapes if key not in expected and not key.endswith("position_ids")]
        report_mismatch(weights, [key for key in expected if key not in shapes], spare)
        for key, shape in expected.items():
            if shapes[key] != shape:
                raise SeesrError(f"{weights}: {key} has shape {shapes[key]}, the configuration asks for {shape}")
    for path, entry in (record or {}).get("files", {}).items():
        file = folder / path
        if not file.is_file() or file.stat().st_size != entry["size"]:
            raise SeesrError(f"{file}: missing or not as long as it was when the model was built")
        if verify and sha256_of(file) != entry["sha256"]:
            raise SeesrError(f"{file}: not the bytes it had when the model was built")
    kind = "complete" if "unet" in networks else "an enlarger, no diffusion part"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), kind


def _formats(report: Report) -> None:
    """Photo formats that depend on how Pillow was built; HEIC is one of the extras."""
    from PIL import features

    built = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff", "AVIF": "avif"}
    names = [name for name, feature in built.items() if features.check(feature)]
    missing = [name for name in built if name not in names]
    report.add("Photos", "formats", OK, ", ".join(names))
    if missing:
        report.add("Photos", ", ".join(missing), ABSENT, "this Pillow is built without", "pip install -U pillow")


def _extras(report: Report) -> None:
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


def _photo(report: Report, path: Path, model: str, folder: Path | None, scale: float) -> None:
    """What restoring the photo takes: read it, run the networks dry, and time a convolution.

    Args:
        folder: of the model; None if it cannot be used. Of those built by name it can be told even so.
    """
    import psutil
    import torch

    from seesr.checkpoints.download import gigabytes
    from seesr.checkpoints.sources import RECIPES
    from seesr.devices import choose_device, choose_dtype, measure_rate
    from seesr.estimate import estimate, estimate_published
    from seesr.images import read_photo, target_scale

    try:
        photo = read_photo(path)
    except SeesrError as error:
        report.add("Photo", path.name, PROBLEM, str(error))
        return
    try:
        scale = target_scale(*photo.rgb.size, scale)
    except SeesrError as error:
        report.add("Photo", "scale", PROBLEM, str(error))
        return
    if folder is None and model not in RECIPES:
        return
    device = choose_device()
    dtype = choose_dtype("auto", device)
    if folder is None:
        needs = estimate_published(RECIPES[model].turbo, photo.rgb.size, scale, dtype)
    else:
        needs = estimate(folder, photo.rgb.size, scale, dtype)
    rate = measure_rate(device, dtype)
    seconds = sum(s.operations / (EFFICIENCY.get(s.name, OTHER_EFFICIENCY) * rate) for s in needs.stages)
    if device.type == "cuda":
        free, where = torch.cuda.mem_get_info(device)[0], "on the graphics card"
        memory = needs.memory
    else:
        free, where = psutil.virtual_memory().available, "free"
        memory = needs.memory + psutil.Process().memory_info().rss  # Python and PyTorch, as they stand here
    width, height = needs.size
    report.photo = {
        "width": photo.rgb.width,
        "height": photo.rgb.height,
        "result_width": width,
        "result_height": height,
        "profile": needs.profile,
        "steps": needs.steps,
        "latent_tiles": needs.tiles,
        "enlarger_tiles": needs.enlarger_tiles,
        "operations": needs.operations,
        "estimated_seconds": round(seconds, 1),
        "estimated_memory_bytes": memory,
        "free_memory_bytes": free,
    }
    report.add("Photo", path.name, OK, f"{photo.rgb.width} x {photo.rgb.height} → {width} x {height} pixels")
    work = []
    if needs.enlarger_tiles:
        work.append(f"{_many(needs.enlarger_tiles, 'tile')} to enlarge")
    if needs.tiles:
        work.append(f"{_many(needs.steps, 'step')} of {_many(needs.tiles, 'tile')}")
    report.add("Photo", "work", OK, f"profile {needs.profile}: {', then '.join(work) or 'nothing learned'}")
    report.add("Photo", "time", OK, f"about {duration(seconds)}, by a probe of this machine, were it idle")
    if memory > free:
        text = f"about {gigabytes(memory)} by a dry run; {gigabytes(free)} {where}"
        report.add(
            "Photo",
            "memory",
            PROBLEM,
            text,
            f"add --memory {free / 1.1e9:.1f}GB to seesr upscale for smaller tiles, or enlarge less",
        )
    else:
        report.add("Photo", "memory", OK, f"about {gigabytes(memory)} by a dry run; {gigabytes(free)} {where}")


# ---------------------------------------------------------------------------------------------------- words


def _remedy(name: str) -> str:
    from seesr.checkpoints.registry import BUILT, EMBEDDED, built_folder

    if name in EMBEDDED:
        return "pip install --force-reinstall --no-deps seesr"
    if name in BUILT:
        return f"rm -r {built_folder(name)} && seesr download {name}"
    return "see docs/models.md"


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


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _tilde(path: Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if len(home) > 1 and str(path).startswith(home) else str(path)


def duration(seconds: float) -> str:
    """A time for people: `2 s`, `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def show(report: Report, model: str) -> None:
    """Print the report in at most 80 columns: one line a finding, what to do about it under it."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False)
    console.width = min(console.width, 80)
    plain = not (console.encoding or "").lower().startswith("utf")
    marks = {
        OK: ("+" if plain else "✓", "green"),
        ABSENT: ("-" if plain else "–", "dim"),
        PROBLEM: ("x" if plain else "✗", "bold red"),
    }
    for section in dict.fromkeys(finding.section for finding in report.findings):
        console.print(Text(section, style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=14, overflow="fold")
        table.add_column(overflow="fold")
        for finding in report.findings:
            if finding.section != section:
                continue
            mark, style = marks[finding.state]
            text = Text(finding.text, style="" if finding.state == OK else style.replace("bold ", ""))
            table.add_row(Text(mark, style=style), finding.name, text)
            if finding.remedy:
                table.add_row("", "", Text(f"{'->' if plain else '→'} {finding.remedy}", style="cyan"))
        console.print(Padding(table, (0, 0, 1, 2)))
    problems = sum(finding.state == PROBLEM for finding in report.findings)
    if problems:
        console.print(Text(f"{_many(problems, 'problem')} to mend before {model} can be used.", style="bold red"))
    else:
        console.print(Text(f"{model} can be used.", style="bold green"))
