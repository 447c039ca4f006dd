"""SeeSR as a diffusers pipeline: its parts, loaded and saved. What they do to a photo is in `restoration`."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, SchedulerMixin
from diffusers.pipelines.pipeline_loading_utils import ALL_IMPORTABLE_CLASSES, LOADABLE_CLASSES
from transformers import CLIPTextModel, CLIPTokenizer

from seesr.checkpoints.foreign import load_foreign_enlarger
from seesr.checkpoints.model_folder import COMPONENTS, INDEX, class_name, mark_folder
from seesr.checkpoints.registry import loading_errors, resolve
from seesr.devices import find_dtype, part_dtype
from seesr.errors import SeesrError
from seesr.models.autoencoder import Autoencoder
from seesr.models.enlarger import Enlarger
from seesr.models.foreign_enlarger import ForeignEnlarger
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
from seesr.models.tagging import PhotoTagger
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.restoration.restorer import Restorer

# diffusers saves and loads only classes that stand in its tables; ours go by their names in the top level of `seesr`
_OWN_COMPONENTS = (
    *("Autoencoder", "CompactEnlarger", "ConvTagger", "Enlarger", "SemanticControlNet", "SemanticUNet", "Tagger"),
    "TextTower",
)
LOADABLE_CLASSES["seesr"] = {name: ["save_pretrained", "from_pretrained"] for name in _OWN_COMPONENTS}
ALL_IMPORTABLE_CLASSES.update(LOADABLE_CLASSES["seesr"])


class SeeSRPipeline(Restorer, DiffusionPipeline):  # type: ignore[misc]
    """Restores real-world photos under the guidance of what is in them.

    Args:
        vae: of Stable Diffusion 2-base, or a small one of the same kind; so are the next two, and the scheduler.
        text_encoder: reads the prompt.
        tokenizer: of the text encoder.
        tagger: DAPE.
        unet: with representation cross-attention.
        controlnet: with representation cross-attention.
        scheduler: its config is the noise schedule of the training.
        enlarger: optional learned enlarger that takes the place of the bicubic one.
        quick: optional smaller one, which takes its place where the setting `engine` is "quick".
        profiles: name → settings (`Settings.to_dict`) this model is best run with; "fast" and "paper" always exist.
        default_profile: the one used when none is asked for.
        residual_decoding: decode as enlarged + D(z0) - D(E(enlarged)), so that a small VAE costs no detail.

    A model may consist of the enlarger alone; then the profiles that need the diffusion part are refused.
    `fidelity` f blends the result towards the enlarged photo: (1 - f) of what the diffusion part changes is kept.
    `pipeline.scheduler = …` with a scheduler of another class than the model's is obeyed, whatever the profile says,
    unless the call names one; with the same class only its noise schedule counts.
    """

    vae: Any  # modules as diffusers' pipelines hold them: the networks themselves, or None
    text_encoder: Any
    tokenizer: Any
    unet: Any
    controlnet: Any
    scheduler: Any

    model_cpu_offload_seq = "tagger->text_encoder->enlarger->quick->controlnet->unet->vae"
    _optional_components = list(COMPONENTS)  # noqa: RUF012

    def __init__(
        self,
        vae: AutoencoderKL | Autoencoder | None = None,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: CLIPTokenizer | None = None,
        tagger: PhotoTagger | None = None,
        unet: SemanticUNet | None = None,
        controlnet: SemanticControlNet | None = None,
        scheduler: SchedulerMixin | None = None,
        enlarger: Enlarger | None = None,
        quick: TiledEnlarger | None = None,
        profiles: dict[str, dict[str, Any]] | None = None,
        default_profile: str = "paper",
        residual_decoding: bool = False,
    ) -> None:
        super().__init__()
        self._loaded_scheduler = type(scheduler)
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            tagger=tagger,
            unet=unet,
            controlnet=controlnet,
            scheduler=scheduler,
            enlarger=enlarger,
            quick=quick,
        )
        self.register_to_config(
            profiles=profiles or {}, default_profile=default_profile, residual_decoding=residual_decoding
        )
        if unet is None and enlarger is None:
            raise SeesrError("a model needs a UNet or an enlarger; this folder has neither")

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **kwargs: Any) -> "SeeSRPipeline":
        """Load a model by name.

        Args:
            name: "mini", a model folder, or a hub id.
            kwargs: of `DiffusionPipeline.from_pretrained`; `dtype` (or `torch_dtype`), by name too, is float32 unless
                given; the full-size tagger stays in float32 (`seesr.devices.part_dtype`). `enlarger`, a network or
                the file of another project's (`seesr.checkpoints.foreign`), takes the place of both engines.

        Raises:
            SeesrError: no such model or number format, its folder is damaged, or the enlarger cannot be used.
        """
        name = os.fspath(name)
        key = "torch_dtype" if "torch_dtype" in kwargs and "dtype" not in kwargs else "dtype"
        dtype = kwargs.get(key)
        kwargs[key] = find_dtype(dtype) if isinstance(dtype, str) else torch.float32 if dtype is None else dtype
        enlarger = kwargs.pop("enlarger", None)
        if isinstance(enlarger, str | os.PathLike):
            enlarger = load_foreign_enlarger(Path(enlarger), kwargs[key])
        location = resolve(name)
        with loading_errors(name):
            if isinstance(kwargs[key], torch.dtype):
                tagger = json.loads((location / INDEX).read_text()).get("tagger") or [None]
                kwargs[key] = {"default": kwargs[key], "tagger": part_dtype(tagger[-1], kwargs[key])}
            pipeline: SeeSRPipeline = super().from_pretrained(location, **kwargs)
        if enlarger is not None:
            pipeline.register_modules(enlarger=enlarger, quick=None)
        if kwargs.get("scheduler") is not None:
            pipeline._loaded_scheduler = type(None)  # the caller's choice, to be obeyed
        parts: tuple[Any, ...] = (pipeline.enlarger, pipeline.quick, pipeline.vae, pipeline.unet, pipeline.controlnet)
        for part in parts:
            if part is not None and part is not enlarger:  # which may not take its pixels in another order
                part.to(memory_format=torch.channels_last)  # the faster layout for convolutions without a backward pass
        return pipeline

    @classmethod
    def load_config(cls, *arguments: Any, **options: Any) -> Any:
        """As diffusers' own, but that the class is not looked for in the folder's `pipeline.py`: it is this one."""
        loaded = super().load_config(*arguments, **options)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        config["_class_name"] = class_name(config)
        return loaded

    def save_pretrained(self, save_directory: str | os.PathLike[str], *arguments: Any, **options: Any) -> None:
        """As diffusers' own.

        Raises:
            SeesrError: another project's network is in the enlarger's place.
        """
        if isinstance(self.enlarger, ForeignEnlarger):
            raise SeesrError(f"{self.enlarger.name} cannot be saved with the model; load the model without `enlarger`")
        super().save_pretrained(save_directory, *arguments, **options)

    def save_config(self, save_directory: str | os.PathLike[str], *arguments: Any, **options: Any) -> None:
        """Write `model_index.json`, and beside it what makes the folder load in diffusers' own `DiffusionPipeline`."""
        super().save_config(save_directory, *arguments, **options)
        mark_folder(Path(save_directory))
