"""Which enlarger a folder holds."""

import json
from pathlib import Path

import torch

from seesr.models.compact_enlarger import CompactEnlarger
from seesr.models.enlarger import Enlarger
from seesr.models.network import CONFIG_NAME
from seesr.models.tiled_enlarger import TiledEnlarger

KINDS: dict[str, type[TiledEnlarger]] = {kind.__name__: kind for kind in (Enlarger, CompactEnlarger)}


def load_enlarger(folder: Path | str, torch_dtype: torch.dtype = torch.float32) -> TiledEnlarger:
    """The enlarger of a folder that `save_pretrained` wrote, of the kind that its config names, in evaluation mode.

    Raises:
        OSError, ValueError, RuntimeError, safetensors.SafetensorError: as `Network.from_pretrained`; a ValueError
            too if the config names another kind of network.
    """
    name = json.loads((Path(folder) / CONFIG_NAME).read_text()).get("_class_name")
    if name not in KINDS:
        raise ValueError(f"{folder} holds a {name}, not one of {', '.join(KINDS)}")
    return KINDS[name].from_pretrained(folder, torch_dtype)
