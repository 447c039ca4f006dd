"""LDM-SR: latent diffusion for 4x super-resolution (Rombach et al. 2022, arXiv 2112.10752, section 4.4) by diffusers.

Its U-Net works at the size of the low-resolution picture, which is joined to the latents, and a VQ decoder enlarges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F

from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Case, Restored, fingerprint, restore_each
from seesr.evaluation.baselines.tiles import enlarge_with_network

_SETTINGS: dict[str, Callable[[str], Any]] = {"steps": int, "eta": float, "seed": int}
_DEFAULTS = {"steps": 100, "eta": 1.0, "seed": 0}
_MULTIPLE = 64
"""Of the input's sides; the U-Net halves them up to this often."""


@dataclass(frozen=True)
class LatentDiffusion:
    """`LDMSuperResolutionPipeline` of a folder or hub id, every picture starting afresh from the seed.

    options: steps of DDIM, eta (0: no noise within the steps, 1: as much as DDPM), seed.
    """

    name: str
    place: str
    options: dict[str, Any]
    device: torch.device

    @staticmethod
    def parse(name: str, text: str, device: torch.device) -> "LatentDiffusion":
        """`PLACE,steps=100,eta=1,seed=0`.

        Raises:
            SeesrError: no place, an unknown option, or a value it cannot have.
        """
        place, *parts = (part.strip() for part in text.split(","))
        options = dict(_DEFAULTS)
        if not place:
            raise SeesrError(f"{name}: names no model; give ldm:FOLDER or ldm:OWNER/NAME")
        for part in parts:
            key, _, value = part.partition("=")
            if key not in _SETTINGS:
                raise SeesrError(f"{name}: no setting {key!r}; there are {', '.join(_SETTINGS)}")
            try:
                options[key] = _SETTINGS[key](value)
            except ValueError:
                raise SeesrError(f"{name}: {key} cannot be {value!r}; give {_SETTINGS[key].__name__}") from None
        return LatentDiffusion(name, place, options, device)

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.place, "dtype": "float32"} | self.options

    @property
    def identity(self) -> str:
        folder = Path(self.place).expanduser()
        return f"{self.settings} {self.device.type} {fingerprint(folder) if folder.is_dir() else ''}"

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        pipeline = _load(self.place, self.device)

        def network(picture: torch.Tensor) -> torch.Tensor:
            height, width = picture.shape[-2:]
            padded = F.pad(picture, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")
            cards = [self.device] if self.device.type == "cuda" else []
            with torch.random.fork_rng(cards):  # diffusers draws the noise within the steps from the global generator
                torch.manual_seed(self.options["seed"])
                steps, eta = self.options["steps"], self.options["eta"]
                output = pipeline(padded * 2 - 1, num_inference_steps=steps, eta=eta, output_type="pt")
                result: torch.Tensor = output.images.cpu()
            k = result.shape[-1] // padded.shape[-1]
            return result[..., : k * height, : k * width]

        def enlarge(case: Case) -> Image.Image:
            return enlarge_with_network(network, case.image, scale, tile=max(case.image.size))

        return restore_each(self.name, cases, self.device, enlarge)


@lru_cache(maxsize=1)
def _load(place: str, device: torch.device) -> Any:
    from diffusers import LDMSuperResolutionPipeline

    try:
        pipeline = LDMSuperResolutionPipeline.from_pretrained(place).to(device)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        raise SeesrError(f"{place}: no LDM super-resolution model that diffusers can load ({line})") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
