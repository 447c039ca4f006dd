"""A model's enlargers and tagger as a folder of ONNX files, each compared with PyTorch before the folder appears."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch

import seesr
from seesr.checkpoints.registry import EMBEDDED, resolve
from seesr.errors import SeesrError
from seesr.export.graphs import EnlargerPart, Part, TaggerPart, import_onnx, largest_difference, to_onnx
from seesr.loading import load_parts
from seesr.system.atomic import new_folder

_KINDS: dict[str, Callable[..., Part]] = {"enlarger": EnlargerPart, "quick": EnlargerPart, "tagger": TaggerPart}

PARTS = tuple(_KINDS)

DTYPES = {torch.float32: 5e-4, torch.float16: 2e-2}
"""Number formats a graph may compute in, and how far it may be from float32 in PyTorch (`largest_difference`)."""

TAG_LIST = "tags.json"


@dataclass(frozen=True)
class Exported:
    """One file. difference: see `largest_difference`, to the network in float32."""

    path: Path
    size: int
    difference: float


def export_onnx(
    name: str,
    out: Path,
    parts: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    progress: Callable[[str], None] = lambda doing: None,
) -> list[Exported]:
    """Write parts of the model called `name` into the new folder `out`: PART.onnx, and for the tagger `tags.json`.

    Args:
        parts: of `PARTS`; empty: those the model has.
        dtype: what the graphs compute in; float16 halves the files.
        progress: called with what is done now.

    Raises:
        SeesrError: packages are missing, no such model or part, a folder that is not new, or a graph that does not
            give what PyTorch gives.
    """
    import_onnx()
    if dtype not in DTYPES:
        raise SeesrError("ONNX files are written in float32 or float16")
    loaded = load_parts(name, torch.float32, torch.device("cpu"), PARTS)
    networks = {part: network for part in PARTS if (network := getattr(loaded, part)) is not None}
    missing = [part for part in parts if part not in networks]
    if missing or not networks:
        raise SeesrError(
            f"{name} has no {' and no '.join(missing or PARTS)}; it has {' and '.join(networks) or 'none'}"
        )
    folder = resolve(name)
    about = {
        "model": name if name in EMBEDDED else folder.name,
        "seesr_version": seesr.__version__,
        "dtype": str(dtype).removeprefix("torch."),
    }
    detail = loaded.settings().detail  # of the default profile: the graphs give the command's picture
    done = []
    with new_folder(out) as workshop:
        for part in parts or networks:
            progress(f"exporting the {part}")
            told = {**about, "part": part}
            if getattr(networks[part], "ends", None) is not None:
                networks[part].ends.move(networks[part], detail)
                networks[part].ends = None
                told["detail"] = f"{detail:g}"
            exact = _KINDS[part](networks[part])
            graph = to_onnx(deepcopy(exact).to(dtype), told)
            progress(f"comparing the {part} with PyTorch")
            difference = largest_difference(graph, exact)
            if math.isnan(difference) or difference > DTYPES[dtype]:
                raise SeesrError(
                    f"{name}: the {part} differs by {difference:.2g} from PyTorch, more than {DTYPES[dtype]:g}; "
                    "nothing was written. Try another version of onnxruntime, or float32"
                )
            (workshop / f"{part}.onnx").write_bytes(graph)
            done.append(Exported(out / f"{part}.onnx", len(graph), difference))
            if part == "tagger":
                config = networks[part].config
                rows = [{"tag": tag, "threshold": least} for tag, least in zip(config.tags, config.thresholds)]
                (workshop / TAG_LIST).write_text(json.dumps({**about, "tags": rows}, indent=1) + "\n")
        if (folder / "LICENSE").is_file():
            shutil.copyfile(folder / "LICENSE", workshop / "LICENSE")
    return done
