"""`seesr degrade`: a photo made as bad as training data."""

from pathlib import Path
from typing import Annotated

import typer


def degrade(
    photo: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The degraded photo, a quarter the size.")],
    preset: Annotated[str, typer.Option(help="seesr, real-esrgan, mild, camera, web, phone or bicubic.")] = "seesr",
    seed: Annotated[int, typer.Option(help="The same seed, the same result.")] = 0,
    grid: Annotated[bool, typer.Option("--grid", help="A sheet of 16 variants instead.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that seesr did not write.")] = False,
) -> None:
    """Degrade a photo the way training data is made."""
    from seesr.apps.jobs.outputs import check_files, recorded
    from seesr.degradation import degrade_photo, sheet
    from seesr.photos.files import check_writable, write_photo
    from seesr.photos.photo import read_photo

    check_writable(output)
    check_files([photo], [output], overwrite)
    make = sheet if grid else degrade_photo
    degraded = make(read_photo(photo).rgb, preset, seed)
    with recorded(output.parent, "degraded", overwrite):
        write_photo(degraded, output)
