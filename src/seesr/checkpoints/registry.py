"""Models by name: the embedded one, folders on disk, and ids on the Hugging Face hub."""

import re
from importlib.resources import files
from pathlib import Path

from seesr.errors import SeesrError

EMBEDDED = ("mini",)
"""Models that the package carries and that work offline."""

_CONVERT = "make a folder from the published weights with 'seesr convert' (see README) and pass it as --model"


def resolve(name: str) -> str:
    """Where `SeeSRPipeline.from_pretrained` finds the model called `name`: a folder, or a hub id as it is.

    Raises:
        SeesrError: no such model, or a folder that holds none.
    """
    if name in EMBEDDED:  # before a folder of that name, which is asked for as ./mini
        return str(files("seesr") / "assets" / name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise SeesrError(f"{name}: not a model folder (it has no model_index.json); {_CONVERT}")
        return str(folder)
    if name in ("sd2", "sd2-turbo"):
        raise SeesrError(f"{name} is not part of the package (its weights are gigabytes): {_CONVERT}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not folder.parent.is_dir():
        return name
    raise SeesrError(f"no model {name!r}: give {', '.join(EMBEDDED)}, a model folder or a hub id (owner/name)")
