"""`seesr export onnx | hub`: a model for other programs."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from seesr.errors import SeesrError
from seesr.system.shown import shown

export = typer.Typer(help="Write a model for other programs: ONNX files, a folder for the hub.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="mini (embedded), sd2, sd2-turbo, a model folder, or a hub id.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="A new folder.", show_default=False)]


class Part(str, Enum):
    """Values of --part."""

    enlarger = "enlarger"
    quick = "quick"
    tagger = "tagger"


@export.command()
def onnx(
    output: Output,
    model: Model = "mini",
    part: Annotated[list[Part] | None, typer.Option(help="Only this one; repeatable.", show_default=False)] = None,
    dtype: Annotated[str, typer.Option(help="float32, or float16 for files of half the size (fp32, fp16).")] = "fp32",
) -> None:
    """Write the enlargers and the tagger as ONNX files, for photos of any size, and compare them with PyTorch."""
    from rich.text import Text

    from seesr.apps.progress import console
    from seesr.devices import find_dtype
    from seesr.export.onnx_folder import export_onnx

    with console.status("") as status:
        done = export_onnx(
            model,
            output,
            [each.value for each in part or ()],
            find_dtype(dtype),
            lambda doing: status.update(Text(doing)),
        )
    for file in done:
        size = f"{file.size / 1e6:.1f} MB"
        typer.echo(shown(f"{file.path}: written, {size}; differs from PyTorch by {file.difference:.1e} at most"))


@export.command()
def hub(
    output: Output,
    model: Model = "mini",
    license: Annotated[
        str | None,
        typer.Option(help="By the hub's id, as apache-2.0: for a model whose card names none.", show_default=False),
    ] = None,
    license_file: Annotated[
        Path | None, typer.Option(help="Its text: for a model without a LICENSE.", show_default=False)
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Put the folder on the hub, under this id.", show_default=False),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --push: a repository that others don't see.")
    ] = False,
) -> None:
    """Write a model as a folder for the hub: card, licence, pipeline.py, index, weights as safetensors."""
    from rich.text import Text

    from seesr.apps.progress import console
    from seesr.export.hub import check_push, export_hub
    from seesr.export.hub import push as push_folder

    if private and push is None:
        raise SeesrError("--private is for --push")
    if push is not None:
        check_push(push)
    export_hub(model, output, license, license_file, push)
    typer.echo(shown(f"{output}: written"))
    if push is not None:
        with console.status(Text(f"pushing to {push}")):
            address = push_folder(output, push, private)
        typer.echo(shown(f"{push}: pushed, {address}"))
