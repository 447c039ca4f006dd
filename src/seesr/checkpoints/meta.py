"""The networks of a model on the meta device: shapes without numbers, to count what they would need."""

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from seesr.checkpoints.files import read_json
from seesr.devices import part_dtype

NETWORKS = ("tagger", "text_encoder", "enlarger", "quick", "vae", "controlnet", "unet")


def meta_networks(
    folder: Path, dtype: torch.dtype = torch.float32, parts: Collection[str] = NETWORKS
) -> dict[str, Any]:
    """The networks of a model folder on the meta device: name of the part → network, in `dtype` where it is loaded so.

    parts: those wanted, of `NETWORKS`; the model may lack some.

    Raises:
        SeesrError: a config is missing or not JSON.
    """
    index = read_json(folder / "model_index.json")
    networks = {}
    for name in (name for name in NETWORKS if name in parts):
        library, class_name = index.get(name) or (None, None)
        if library is None or class_name is None:
            continue
        network_class = getattr(import_module(library), class_name)
        config = read_json(folder / name / "config.json")
        with init_empty_weights(include_buffers=False):
            if config_class := getattr(network_class, "config_class", None):  # of transformers
                network = network_class(config_class.from_dict(config))
            else:
                network = network_class(**{key: value for key, value in config.items() if not key.startswith("_")})
        networks[name] = as_meta(network, part_dtype(class_name, dtype))
    return networks


def as_meta(network: torch.nn.Module, dtype: torch.dtype) -> Any:
    return torch.nn.Module.to(network, "meta", dtype).eval().requires_grad_(False)
