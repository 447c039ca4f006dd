"""Networks kept on disk as diffusers keeps them, without importing diffusers.

Starting the `seesr` command must not take longer than restoring a small photo, and diffusers with transformers takes
three times as long to import as PyTorch. So the networks that run in every restoration stand on this base instead of
`diffusers.ModelMixin`; a diffusers pipeline loads and saves them like its own.
"""

import inspect
import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from seesr.models.int8 import dequantize, quantize

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"

Self = TypeVar("Self", bound="Network")


class Network(nn.Module):
    """A network whose `__init__` bears `@keeps_config`: a folder of `config.json` and safetensors makes it anew."""

    config: SimpleNamespace
    """The arguments of `__init__`, defaults included."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the floating-point parameters."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def register_to_config(self, **settings: Any) -> None:
        """Set entries of `config`: for code that changes the network after `__init__`."""
        vars(self.config).update(settings)

    @classmethod
    def from_config(cls: type[Self], config: SimpleNamespace) -> Self:
        """A network of the same architecture with random weights."""
        return cls(**vars(config))

    @classmethod
    def from_pretrained(cls: type[Self], folder: Path | str, torch_dtype: torch.dtype = torch.float32) -> Self:
        """The network of a folder that `save_pretrained` wrote, in evaluation mode.

        Args:
            torch_dtype: of the weights, whatever they are stored in.

        Raises:
            OSError, ValueError, RuntimeError, safetensors.SafetensorError: no such folder, a config or weights that
                are damaged or belong to another network.
        """
        stored = json.loads((Path(folder) / CONFIG_NAME).read_text())
        settings = {name: value for name, value in stored.items() if not name.startswith("_")}
        unknown = settings.keys() - inspect.signature(cls.__init__).parameters.keys()
        if unknown:
            raise ValueError(f"{cls.__name__} has no settings {sorted(unknown)}")
        tensors = dequantize(load_file(Path(folder) / WEIGHTS_NAME))
        network = cls(**settings)
        network.load_state_dict(tensors, assign=True)
        return network.to(torch_dtype).eval()

    def save_pretrained(self, folder: Path | str, int8: bool = False, grouped: bool = False) -> None:
        """Write config and weights into `folder`, which is made.

        Args:
            int8, grouped: the weights as 8-bit integers, see `seesr.models.int8`.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": type(self).__name__, **vars(self.config)}
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        tensors = quantize(tensors, grouped) if int8 else tensors
        save_file(tensors, folder / WEIGHTS_NAME, metadata={"format": "pt"})


def keeps_config(init: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a `Network`'s `__init__`: its arguments become `self.config`."""
    signature = inspect.signature(init)

    @wraps(init)
    def wrapped(self: Network, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *settings = bound.arguments.items()  # the first is self
        init(self, *args, **kwargs)
        self.config = SimpleNamespace(**dict(settings))

    return wrapped
