"""The `seesr` command. Each subcommand is a plain function; the heavy imports wait until one is run."""

import os
import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seesr.apps.data import app as data
from seesr.apps.doctor import doctor
from seesr.apps.evaluate import evaluate
from seesr.apps.semantics import semantics
from seesr.apps.study import study
from seesr.errors import SeesrError

if TYPE_CHECKING:
    from collections.abc import Callable

    from seesr.restoration import Restorer

app = typer.Typer(
    help="Restore real photos with SeeSR: semantics-aware super-resolution.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="--debug, anywhere, shows the traceback of an error.",
)


class ColorFix(str, Enum):
    """Values of --color-fix."""

    adain = "adain"
    wavelet = "wavelet"
    none = "none"


class Start(str, Enum):
    """Values of --start."""

    lr = "lr"
    noise = "noise"


Inputs = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]
Model = Annotated[str, typer.Option(help="mini (embedded), sd2, sd2-turbo, a model folder, or a hub id.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[xX](\d+)", text.strip())
    if not match:
        raise SeesrError(f"--fit cannot be {text!r}; give two sides, as in 1920x1080")
    return int(match[1]), int(match[2])


def _load(
    load: "Callable[..., Restorer]", model: str, device: str, dtype: str, exact: bool, **wanted: Any
) -> "Restorer":
    """Load a model by one of loading.py's functions, on the device and in the number format asked for."""
    from seesr.apps.progress import console
    from seesr.checkpoints.registry import resolve
    from seesr.devices import choose_device, choose_dtype

    target = choose_device(device)
    number_format = choose_dtype(dtype, target, exact)
    resolve(model)  # a download shows its own progress
    with console.status(f"loading {model}"):
        return load(model, number_format, target, **wanted)


@app.command()
def upscale(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="A file for one photo, else a folder.")],
    model: Model = "mini",
    scale: Annotated[float | None, typer.Option(help="Of width and height.  [default: 4]")] = None,
    to: Annotated[int | None, typer.Option(min=1, help="Pixels of the longer side, instead of --scale.")] = None,
    fit: Annotated[str | None, typer.Option(metavar="WxH", help="Just fits in there, instead of --scale.")] = None,
    profile: Annotated[str | None, typer.Option(help="fast or paper; default: the model's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Weight of the prompt against the negative one.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="ddpm, ddim, dpm++, euler, unipc, …")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Every photo starts afresh from it.")] = 0,
    fidelity: Annotated[float | None, typer.Option(help="0: all invented detail, 1: none.")] = None,
    prompt: Annotated[str, typer.Option(help="Words of your own, added to the tags.")] = "",
    negative_prompt: Annotated[str | None, typer.Option(help="What the picture must not be.")] = None,
    added_prompt: Annotated[str | None, typer.Option(help="Quality words after the tags.")] = None,
    tags: Annotated[str | None, typer.Option(help="a,b,… instead of those DAPE sees.")] = None,
    exclude_tags: Annotated[str, typer.Option(help="a,b,… left out.")] = "",
    start: Annotated[Start | None, typer.Option(help="LR embedding, or pure noise.")] = None,
    color_fix: Annotated[ColorFix | None, typer.Option(help="How the photo's colours are kept.")] = None,
    process_size: Annotated[int | None, typer.Option(help="Least shorter side worked at, in pixels.")] = None,
    latent_tile: Annotated[int | None, typer.Option(help="Tile side, in units of 8 pixels.")] = None,
    latent_overlap: Annotated[int | None, typer.Option(help="Overlap of tiles, in the same units.")] = None,
    tile_batch: Annotated[int | None, typer.Option(help="Tiles worked on at once.")] = None,
    tile_tags: Annotated[bool | None, typer.Option("--tile-tags", help="Look at what is under each tile.")] = None,
    memory: Annotated[str | None, typer.Option(help="Keep to this much, as in 4GB, with small tiles.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    ext: Annotated[str | None, typer.Option(help="png, jpg, webp, …; default: as the photo.")] = None,
    suffix: Annotated[str, typer.Option(help="Put after the photo's name in an output folder.")] = "",
    quality: Annotated[int, typer.Option(min=1, max=100, help="1 to 100, of JPEG, WebP and AVIF.")] = 95,
    bits: Annotated[int, typer.Option(help="16 a channel instead of 8, for PNG and TIFF.")] = 8,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Refuse photos with more.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Write a side-by-side with the photo as well.")] = False,
) -> None:
    """Restore photos: a file or a folder in, the same tree out."""
    from seesr.apps.folder import plan_jobs

    jobs = plan_jobs(inputs, output, suffix, ext)  # a wrong path is told at once, before the slow imports
    from seesr.apps.restore import RestoreOptions, restore_files
    from seesr.images import MAX_PIXELS
    from seesr.loading import load_restorer
    from seesr.photo_deep import check_deep

    settings = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "added_prompt": added_prompt,
        "tags": _split(tags),
        "exclude_tags": _split(exclude_tags) or (),
        "profile": profile,
        "scheduler": scheduler,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "start_point": start.value if start else None,
        "fidelity": fidelity,
        "color_fix": color_fix.value if color_fix else None,
        "process_size": process_size,
        "latent_tile_size": latent_tile,
        "latent_tile_overlap": latent_overlap,
        "tile_batch_size": tile_batch,
        "tile_tags": tile_tags,
        "memory": memory,
        "seed": seed,
    }
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    options = RestoreOptions(limit, scale, to, _size(fit), quality, bits, compare, settings)
    if bits == 16:
        for job in jobs:
            check_deep(job.target)
    restorer = _load(
        load_restorer, model, device, dtype, exact=profile == "paper" or bits == 16, profile=profile, steps=steps
    )
    restore_files(restorer, jobs, options)


@app.command()
def tags(inputs: Inputs, model: Model = "mini", device: Device = "auto", dtype: Dtype = "auto") -> None:
    """Print what DAPE sees in each photo, with probabilities."""
    from seesr.apps.folder import find_photos
    from seesr.images import read_photo
    from seesr.loading import load_tagger

    restorer = _load(load_tagger, model, device, dtype, exact=True)
    if restorer.tagger is None:
        raise SeesrError(f"{model} has no tagger yet; give a model that has, with --model")
    for path in inputs:
        for photo in find_photos(path) if path.is_dir() else [path]:
            found, _ = restorer.see(read_photo(photo).rgb)
            typer.echo(f"{photo}: " + ", ".join(f"{tag.name} {tag.probability:.2f}" for tag in found))


@app.command()
def convert(
    arguments: Annotated[list[Path], typer.Argument(metavar="[MODEL] OUTDIR", show_default=False)],
    base: Annotated[Path | None, typer.Option(help="Stable Diffusion 2-base folder (SD-Turbo's with --turbo).")] = None,
    seesr: Annotated[Path | None, typer.Option(help="Folder with SeeSR's unet and controlnet.")] = None,
    ram: Annotated[Path | None, typer.Option(help="RAM checkpoint (ram_swin_large_14m.pth).")] = None,
    dape: Annotated[Path | None, typer.Option(help="DAPE checkpoint (DAPE.pth).")] = None,
    tags: Annotated[Path | None, typer.Option(help="ram_tag_list.txt")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="ram_tag_list_threshold.txt")] = None,
    turbo: Annotated[bool, typer.Option("--turbo", help="Put SeeSR's image attention into SD-Turbo.")] = False,
    to_upstream: Annotated[bool, typer.Option("--to-upstream", help="The way back: MODEL → OUTDIR.")] = False,
    dtype: Annotated[str, typer.Option(help="keep, fp32, bf16 or fp16.")] = "keep",
) -> None:
    """Make one model folder from the published checkpoints, or the reverse."""
    from seesr.checkpoints import upstream
    from seesr.devices import DTYPES

    if to_upstream:
        if len(arguments) != 2:
            raise SeesrError("convert --to-upstream takes two folders: MODEL OUTDIR")
        upstream.convert_to_upstream(*arguments)
        typer.echo(f"{arguments[1]}: written")
        return
    files = {"base": base, "seesr": seesr, "ram": ram, "dape": dape, "tags": tags, "thresholds": thresholds}
    given: dict[str, Any] = {name: path for name, path in files.items() if path is not None}
    if len(given) < len(files) or len(arguments) != 1:
        missing = ", ".join(f"--{name}" for name in files if name not in given)
        raise SeesrError(f"convert needs {missing or 'one OUTDIR'}; see seesr convert --help")
    if dtype not in ("keep", *DTYPES):
        raise SeesrError(f"no dtype {dtype!r}; use keep, {', '.join(DTYPES)}")
    upstream.convert(**given, out=arguments[0], turbo=turbo, dtype=DTYPES.get(dtype))
    typer.echo(f"{arguments[0]}: written; restore with 'seesr upscale PHOTO -o OUT --model {arguments[0]}'")


@app.command()
def download(names: Annotated[list[str], typer.Argument(help="sd2, sd2-turbo.", show_default=False)]) -> None:
    """Fetch and build models by name, once; --model NAME does the same when it has to."""
    from seesr.checkpoints.registry import BUILT, install

    for name in names:
        if name not in BUILT:
            raise SeesrError(f"{name!r} is not a model to download; there are {', '.join(BUILT)}")
    for name in names:
        typer.echo(f"{name}: {install(name)}")


@app.command()
def degrade(
    photo: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The degraded photo, a quarter the size.")],
    preset: Annotated[str, typer.Option(help="seesr, real-esrgan, mild, camera, web, phone or bicubic.")] = "seesr",
    seed: Annotated[int, typer.Option(help="The same seed, the same result.")] = 0,
    grid: Annotated[bool, typer.Option("--grid", help="A sheet of 16 variants instead.")] = False,
) -> None:
    """Degrade a photo the way training data is made."""
    from seesr.degradation import degrade_photo, sheet
    from seesr.images import check_writable, read_photo, write_photo

    check_writable(output)
    make = sheet if grid else degrade_photo
    write_photo(make(read_photo(photo).rgb, preset, seed), output)


@app.command()
def train(
    stage: Annotated[
        str, typer.Argument(help="autoencoder, dape, enlarger, prior, seesr, tagger or turbo.", show_default=False)
    ],
    config: Annotated[Path, typer.Option(help="YAML file; see configs/.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", show_default=False)] = None,
) -> None:
    """Train one stage; it goes on from its last state."""
    import logging
    from importlib import import_module

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)

    stages = ("autoencoder", "dape", "enlarger", "prior", "seesr", "tagger", "text", "turbo")
    if stage not in stages:
        raise SeesrError(f"no training stage {stage!r}; there are {', '.join(stages)}")
    import_module(f"seesr.training.{stage}").train(config, overrides or [])


app.command()(evaluate)
app.command()(doctor)
app.add_typer(data, name="data")
app.add_typer(semantics, name="semantics")
app.add_typer(study, name="study")


def _quiet_libraries() -> None:
    """Loading bars and advice of the libraries below are not for the user of a command."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> Any:
    """Entry point: errors the user can mend are one line and exit code 2; --debug shows tracebacks."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    _quiet_libraries()
    try:
        app()
    except SeesrError as error:
        if debug:
            raise
        typer.echo(f"seesr: {error}", err=True)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, MemoryError) or "not enough memory" in str(error) or "out of memory" in str(error):
            typer.echo("seesr: out of memory; a smaller --scale or --latent-tile needs less", err=True)
            sys.exit(2)
        typer.echo(f"seesr: {type(error).__name__}: {error} (--debug shows where)", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
