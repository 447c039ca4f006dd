"""Reading checkpoints safely and strictly: no code is run, no tensor is missing, spare or mis-shaped without a word."""

import json
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from seesr.errors import SeesrError
from seesr.models import int8

StateDict = dict[str, torch.Tensor]

WEIGHT_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
    int8.FILE_NAME,
)
_WRAPPERS = ("model", "state_dict", "params_ema", "params", "params-ema", "model_state_dict", "net")


def read_state_dict(path: Path) -> StateDict:
    """Tensors of one `.safetensors`, `.pth`, `.pt`, `.ckpt` or `.bin` file, on the CPU, as stored (but integers).

    Pickles are read with `weights_only=True`; a dict wrapped in `{"model": …}` or the like is unwrapped.

    Raises:
        SeesrError: no such file, cut short, not a checkpoint, or holding anything but tensors.
    """
    if not path.is_file():
        raise SeesrError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return int8.dequantize(safetensors.torch.load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on pickle protocols
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        if isinstance(error, pickle.UnpicklingError) and re.search("GLOBAL|Unsupported (class|operand)", str(error)):
            raise SeesrError(
                f"{path}: holds more than numbers, which could be a program; none of it was run. Ask for a .safetensors"
            ) from error
        if "TorchScript" in str(error):
            raise SeesrError(f"{path}: is a TorchScript program, not weights; ask for a .safetensors") from error
        raise SeesrError(f"{path}: not a readable checkpoint; it may be cut short: fetch it again") from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(t, torch.Tensor) for t in content.values()):
        raise SeesrError(f"{path}: not a checkpoint of named tensors")
    return dict(content)


def find_weights(folder: Path) -> Path:
    """The weight file of a diffusers or transformers model folder; full precision is preferred to the fp16 variant."""
    if not folder.is_dir():
        raise SeesrError(f"{folder}: no such folder")
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise SeesrError(f"{folder}: holds none of {', '.join(WEIGHT_FILES)}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SeesrError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise SeesrError(f"{path}: not a JSON file") from error
    if not isinstance(content, dict):
        raise SeesrError(f"{path}: not a JSON object")
    return content


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file, stripped."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise SeesrError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SeesrError(f"{path}: not a text file") from error


def load_strictly(
    model: nn.Module, tensors: StateDict, origin: Path | str, ignore: Callable[[str], bool] = lambda name: False
) -> None:
    """Put `tensors` into `model` (its parameters may be on the meta device), keeping their dtypes.

    Args:
        ignore: tells which spare names are known to be unused.

    Raises:
        SeesrError: a tensor is missing, spare, of another shape, or holds NaN or infinity. The message names it.
    """
    expected = model.state_dict()
    spare = [name for name in tensors if name not in expected and not ignore(name)]
    report_mismatch(origin, [name for name in expected if name not in tensors], spare)
    tensors = {name: tensors[name] for name in expected}
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise SeesrError(f"{origin}: {name} has shape {found}, the configuration asks for {wanted}")
    check_finite(tensors, origin)
    model.load_state_dict(tensors, assign=True)


def report_mismatch(origin: Path | str, missing: Iterable[str], spare: Iterable[str]) -> None:
    """Raise SeesrError naming the tensors that are missing or unexpected, if there are any."""
    for what, names in (("lacks", sorted(missing)), ("has unexpected", sorted(spare))):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise SeesrError(
                f"{origin}: {what} {', '.join(names[:3])}{more}; is it the right file for this place, and whole?"
            )


def check_finite(tensors: Mapping[str, torch.Tensor], origin: Path | str) -> None:
    """Raise SeesrError naming the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.is_meta and not torch.isfinite(tensor).all():
            raise SeesrError(f"{origin}: {name} holds NaN or infinity; the file is damaged: fetch it again")
