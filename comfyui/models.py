"""The models that the nodes know, and one of them in memory, under ComfyUI's memory management.

A model is loaded when a node first needs it, and no more of it than is needed: without denoising steps only tagger and
enlarger. In between ComfyUI may move it out of the graphics card's memory for others.
"""

from functools import lru_cache
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn

from seesr.checkpoints.registry import resolve
from seesr.devices import choose_dtype
from seesr.errors import SeesrError
from seesr.loading import load_restorer, resolve_settings
from seesr.restoration.restorer import Restorer
from seesr.restoration.settings import Settings

from .choices import PART_BY_PART, STAYS, enlarger_path, model_path

_NETWORKS = ("tagger", "text_encoder", "enlarger", "quick", "vae", "controlnet", "unet")


class Model:
    """What a loader node hands on.

    Args:
        name: of a model, as `choices.models` gives it.
        enlarger: of `choices.enlargers`. dtype, offload: one of `choices.DTYPES`, of `choices.OFFLOADS`.

    Raises:
        SeesrError: no such model, or its weights are missing and cannot be fetched.
    """

    def __init__(self, name: str, enlarger: str, dtype: str, offload: str) -> None:
        self.name, self.enlarger = model_path(name), enlarger_path(enlarger)
        self.dtype, self.offload = dtype, offload
        resolve(self.name)  # weights that are missing are told here, by the loader
        self._loaded: _Loaded | None = None

    def settings(self, profile: str | None, given: dict[str, Any]) -> Settings:
        """The settings of a run: the profile's, with those `given` put over them.

        Raises:
            SeesrError: no such profile or setting, or a value that it cannot have.
        """
        return resolve_settings(self.name, profile, given)

    def restorer(self, profile: str | None, settings: Settings) -> Restorer:
        """The networks that a restoration with `settings` needs, loaded and on their device."""
        exact = settings.is_paper or profile == "paper" or settings.bits == 16  # as the command decides
        return self._get(settings.num_inference_steps > 0, exact)

    def tagger(self) -> Restorer:
        """A restorer whose `see` tells tags."""
        loaded = self._loaded
        if loaded is not None:
            loaded.bring(0)
            return loaded.restorer
        return self._get(diffuse=False, exact=False)  # as the restore node's own look

    def make_room(self, photo: tuple[int, int], settings: Settings) -> None:
        """Let ComfyUI move other models away, and this one in, for a photo of that size (width, height)."""
        assert self._loaded is not None
        self._loaded.bring(_working_bytes(self._loaded.restorer, photo, settings))

    def _get(self, diffuse: bool, exact: bool) -> Restorer:
        device = comfy.model_management.get_torch_device()
        dtype = choose_dtype(self.dtype, device, exact)
        loaded = self._loaded
        if loaded is None or loaded.dtype != dtype or (diffuse and not loaded.whole):
            self._loaded = None  # first, so that both are never in memory
            at_first = torch.device("cpu")
            try:
                restorer = load_restorer(self.name, dtype, at_first, steps=int(diffuse), enlarger=self.enlarger)
            except (ImportError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and "Failed to import" not in str(error):  # diffusers' own wording
                    raise
                reason = str(error).strip().partition("\n")[0]
                raise SeesrError(
                    f"the diffusion part needs newer packages ({reason}); run pip install -U diffusers transformers "
                    "accelerate in ComfyUI's Python, or choose the profile fast, which needs none of them"
                ) from error
            self._loaded = loaded = _Loaded(restorer, dtype, diffuse, device, self.offload)
        loaded.bring(0)
        return loaded.restorer


@lru_cache(maxsize=1)
def open_model(name: str, enlarger: str, dtype: str, offload: str) -> Model:
    """The model called `name`; the last one is kept, so that nodes share it from run to run."""
    return Model(name, enlarger, dtype, offload)


class _Loaded:
    """A model's networks in memory.

    whole: with the diffusion part.
    """

    def __init__(self, restorer: Restorer, dtype: torch.dtype, whole: bool, device: torch.device, offload: str) -> None:
        self.restorer, self.dtype, self.whole, self.device = restorer, dtype, whole, device
        parts = [part for name in _NETWORKS if isinstance(part := getattr(restorer, name, None), nn.Module)]
        self.largest = max((comfy.model_management.module_size(part) for part in parts), default=0)
        self.patcher: Any = None
        self.by_parts = offload == PART_BY_PART and whole and device.type != "cpu"
        if self.by_parts:
            restorer.enable_model_cpu_offload(device=device)  # type: ignore[attr-defined]
        elif offload == STAYS:
            restorer.to(device)  # type: ignore[attr-defined]
        else:
            away = comfy.model_management.unet_offload_device()
            self.patcher = comfy.model_patcher.ModelPatcher(SeeSR(parts), load_device=device, offload_device=away)

    def bring(self, working: int) -> None:
        """Make room for `working` bytes beside the networks, and have them where they work."""
        if self.patcher is not None:
            comfy.model_management.load_models_gpu([self.patcher], memory_required=working)
            self.restorer.to(self.device)  # type: ignore[attr-defined]  # moves nothing, but notes the device
        else:
            comfy.model_management.free_memory(working + self.largest * self.by_parts, self.device)


class SeeSR(nn.Module):
    """A model's networks as the one module that ComfyUI moves, and names in its log; it sets `device`."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.device = torch.device("cpu")


def _working_bytes(restorer: Restorer, photo: tuple[int, int], settings: Settings) -> int:
    """Of the graphics card's memory, beside the networks."""
    from seesr.restoration.memory import working_bytes

    device = comfy.model_management.get_torch_device()
    if device.type == "cpu":
        return 0  # ComfyUI manages none there, and counting takes a while
    return working_bytes(restorer, device, photo, settings.scale, settings)
