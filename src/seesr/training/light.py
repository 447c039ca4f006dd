"""Light checkpoints: the learned weights in bfloat16, in files small enough for any version control.

    index.json                what the tensors are, and the SHA-256 of every file
    weights-00000.safetensors, …   flat pieces of tensors under `NAME:OFFSET`, at most 15 MB a file

Trained parameters, buffers and averaged weights are in it; networks that stay frozen come from the config's model
folder, and the optimiser starts afresh. So a training resumes from it on any machine, nearly but not exactly.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from seesr.errors import SeesrError
from seesr.training.averaging import WeightAverage

FILE_BYTES = 15_000_000
_ENTRY_BYTES = 150  # of a file's header, per piece, beside its name
_MINIMUM_PIECE = 64  # values


def save_light(folder: Path, modules: dict[str, nn.Module], average: WeightAverage, counters: dict[str, Any]) -> None:
    """Write the trained state of `modules`, the averaged weights and the `counters` into an existing folder."""
    tensors = {name: tensor.detach() for name, tensor in _trained(modules).items()}
    if average.decay:  # else the averaged weights are the trained ones
        tensors |= {f"average/{name}": tensor for name, tensor in average.shadow.items()}
    small = {n: t.to("cpu", torch.bfloat16) if t.is_floating_point() else t.cpu() for n, t in tensors.items()}
    index: dict[str, Any] = {"counters": counters, "files": {}}
    index["tensors"] = {
        n: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")} for n, t in small.items()
    }
    for number, pieces in enumerate(_files(small)):
        file = folder / f"weights-{number:05d}.safetensors"
        save_file(pieces, file)
        index["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "index.json").write_text(json.dumps(index, indent=0))


def load_light(folder: Path, modules: dict[str, nn.Module], average: WeightAverage) -> dict[str, Any]:
    """Put what `save_light` wrote into `modules` and `average`; returns the counters.

    Raises:
        SeesrError: a file is missing or damaged, or the state is that of another model.
    """
    try:
        index = json.loads((folder / "index.json").read_text())
        stored = {
            name: torch.empty(torch.Size(entry["shape"]).numel(), dtype=getattr(torch, entry["dtype"]))
            for name, entry in index["tensors"].items()
        }
        for name, digest in index["files"].items():
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise SeesrError(f"{folder / name} is damaged: its SHA-256 is not that of index.json; copy it again")
            for key, piece in load(content).items():
                tensor, _, offset = key.rpartition(":")
                stored[tensor][int(offset) : int(offset) + piece.numel()] = piece
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise SeesrError(f"{folder} is no complete light checkpoint ({error}); copy it again or remove it") from error
    trained = _trained(modules)
    sources = {name: name for name in trained}
    if average.decay and any(name.startswith("average/") for name in stored):
        sources |= {f"average/{name}": f"average/{name}" for name in average.shadow}
    targets = trained | {f"average/{name}": tensor for name, tensor in average.shadow.items()}
    for name in sources:
        shape = index["tensors"].get(name, {}).get("shape")
        if shape != list(targets[name].shape):
            raise SeesrError(
                f"{folder} is of another model: {name} has the shape {shape}, here it is {list(targets[name].shape)}; "
                "choose another output"
            )
    with torch.no_grad():
        for name in sources:
            targets[name].copy_(stored[name].view(targets[name].shape))
        if len(sources) == len(trained):
            for name, parameter in average.parameters.items():
                average.shadow[name].copy_(parameter)
    counters: dict[str, Any] = index["counters"]
    return counters


def _trained(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters that are trained, and buffers that belong to the state, as `module/name`."""
    found: dict[str, Tensor] = {}
    for name, module in modules.items():
        frozen = {key for key, parameter in module.named_parameters() if not parameter.requires_grad}
        state = module.state_dict(keep_vars=True)
        found |= {f"{name}/{key}": tensor for key, tensor in state.items() if key not in frozen}
    return found


def _files(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Flat pieces of the tensors in groups of at most FILE_BYTES."""
    pieces: dict[str, Tensor] = {}
    room = FILE_BYTES - _ENTRY_BYTES
    for name, tensor in tensors.items():
        flat, start = tensor.contiguous().view(-1), 0
        while start < flat.numel():
            overhead = len(name) + _ENTRY_BYTES
            fits = (room - overhead) // flat.element_size()
            if fits < min(_MINIMUM_PIECE, flat.numel() - start):
                yield pieces
                pieces, room = {}, FILE_BYTES - _ENTRY_BYTES
                continue
            piece = flat[start : start + fits].clone()
            pieces[f"{name}:{start}"] = piece
            start += piece.numel()
            room -= piece.numel() * piece.element_size() + overhead
    if pieces:
        yield pieces
