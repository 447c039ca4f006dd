"""`seesr convert` and `seesr download`: model folders of published weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from seesr.errors import SeesrError
from seesr.system.shown import shown


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
    dtype: Annotated[str, typer.Option(help="keep, float32, bfloat16 or float16 (fp32, bf16, fp16).")] = "keep",
) -> None:
    """Make one model folder from the published checkpoints, or the reverse."""
    from seesr.checkpoints import upstream
    from seesr.devices import find_dtype

    if to_upstream:
        if len(arguments) != 2:
            raise SeesrError("convert --to-upstream takes two folders: MODEL OUTDIR")
        from seesr.checkpoints.registry import EMBEDDED, resolve

        name = str(arguments[0])
        upstream.convert_to_upstream(resolve(name) if name in EMBEDDED else arguments[0], arguments[1])
        typer.echo(shown(f"{arguments[1]}: written"))
        return
    files = {"base": base, "seesr": seesr, "ram": ram, "dape": dape, "tags": tags, "thresholds": thresholds}
    given: dict[str, Any] = {name: path for name, path in files.items() if path is not None}
    if len(given) < len(files) or len(arguments) != 1:
        missing = ", ".join(f"--{name}" for name in files if name not in given)
        raise SeesrError(f"convert needs {missing or 'one OUTDIR'}; see seesr convert --help")
    number_format = None if dtype.lower() == "keep" else find_dtype(dtype, "keep")
    upstream.convert(**given, out=arguments[0], turbo=turbo, dtype=number_format)
    typer.echo(shown(f"{arguments[0]}: written; restore with 'seesr upscale PHOTO -o OUT --model {arguments[0]}'"))


def download(names: Annotated[list[str], typer.Argument(help="sd2, sd2-turbo.", show_default=False)]) -> None:
    """Fetch and build models by name, once; --model NAME does the same when it has to."""
    from seesr.checkpoints.registry import BUILT, install

    for name in names:
        if name not in BUILT:
            raise SeesrError(f"{name!r} is not a model to download; there are {', '.join(BUILT)}")
    for name in names:
        typer.echo(f"{name}: {install(name)}")
