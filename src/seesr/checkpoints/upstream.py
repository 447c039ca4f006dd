"""The published checkpoints ⇄ one model folder that `SeeSRPipeline.from_pretrained` reads.

Published are: a Stable Diffusion 2-base folder (VAE, text tower, tokenizer, scheduler), a SeeSR folder (`unet`,
`controlnet`), a RAM checkpoint, DAPE's LoRA factors, and RAM's tag and threshold lists. Sizes come from configs and
tensor shapes. Everything is checked before anything is written, and the folder appears whole or not at all.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDPMScheduler
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from seesr.checkpoints.files import StateDict, find_weights, load_strictly, read_json, read_lines, read_state_dict
from seesr.checkpoints.model_folder import write_model
from seesr.checkpoints.ram import PUBLISHED_RANK, at_published_rank, build_tagger, split_tied, to_published
from seesr.errors import SeesrError
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet, image_attention_parameters
from seesr.models.tagger import Tagger
from seesr.restoration.profiles import FAST, TURBO
from seesr.system.atomic import new_folder

_OLD_VAE_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

_TOKENIZER_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json")

_FEATURE_EXTRACTOR: dict[str, Any] = {  # of Stable Diffusion's safety checker: the published scripts load it, unused
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 224},
}

Model = TypeVar("Model", SemanticUNet, SemanticControlNet)


def convert(
    base: Path,
    seesr: Path,
    ram: Path,
    dape: Path | None,
    tags: Path,
    thresholds: Path,
    out: Path,
    turbo: bool = False,
    dtype: torch.dtype | None = None,
) -> None:
    """Published files → the model folder `out`.

    Args:
        base: Stable Diffusion 2-base folder; SD-Turbo's with `turbo`.
        seesr: folder with `unet` and `controlnet`.
        dape: None leaves the tagger plain RAM.
        turbo: take the UNet from `base` too, and only the image cross-attention from SeeSR's.
        dtype: of the weights in `out`; None keeps each as it is.

    Raises:
        SeesrError: `out` exists, or a file is missing, damaged, of the wrong kind or does not fit the others.
    """
    with new_folder(out) as folder:
        components: dict[str, Any] = {
            "vae": _read_vae(base / "vae"),
            "text_encoder": _read_text_encoder(base / "text_encoder"),
            "tokenizer": _read_tokenizer(base / "tokenizer"),
            "scheduler": _read_scheduler(base / "scheduler"),
            "tagger": read_tagger(ram, dape, tags, thresholds),
            "unet": _read_turbo_unet(base / "unet", seesr / "unet")
            if turbo
            else read_rca_model(SemanticUNet, seesr / "unet"),
            "controlnet": read_rca_model(SemanticControlNet, seesr / "controlnet"),
        }
        if components["text_encoder"].config.hidden_size != components["unet"].config.cross_attention_dim:
            raise SeesrError(f"{base}: its text tower does not fit the UNet of {seesr}; is it Stable Diffusion 2-base?")
        if dtype is not None:
            for component in components.values():
                if isinstance(component, nn.Module):
                    nn.Module.to(component, dtype)  # past diffusers' own `to`, which talks about devices
        profiles = {"fast": (TURBO if turbo else FAST).to_dict()}
        write_model(folder, components, profiles, default_profile="fast" if turbo else "paper")
        # transformers 5 writes one tokenizer.json instead, which older releases cannot read
        for name in _TOKENIZER_FILES:
            if (base / "tokenizer" / name).is_file():
                shutil.copyfile(base / "tokenizer" / name, folder / "tokenizer" / name)


def convert_to_upstream(model: Path, out: Path) -> None:
    """The reverse of `convert`, for all that the published code uses: base, SeeSR, RAM, DAPE and the two lists.

    Args:
        model: folder of a model, or of a tagger as stage 1 saves it, of which RAM, DAPE and the lists are written.

    Raises:
        SeesrError: `out` exists, `model` is no folder of a complete SeeSR, or its networks are not the paper's.
    """
    if _class_of(model / "config.json") in ("Tagger", "ConvTagger"):
        _check_readable(model, {"": "Tagger"})
        with new_folder(out) as folder:
            _write_tagger(model, folder)
        return
    parts = ("vae", "text_encoder", "tokenizer", "scheduler", "unet", "controlnet", "tagger")
    missing = [part for part in parts if not (model / part).is_dir()]
    if missing:
        raise SeesrError(f"{model}: has no {', '.join(missing)}; only the folder of a complete SeeSR converts back")
    _check_readable(model, {"vae": "AutoencoderKL", "tagger": "Tagger"})
    with new_folder(out) as folder:
        for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
            shutil.copytree(model / part, folder / "base" / part)
        weights = find_weights(folder / "base" / "text_encoder")
        text = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in read_state_dict(weights).items()}
        save_file(text, weights, {"format": "pt"})
        for part, class_name in (("unet", "UNet2DConditionModel"), ("controlnet", "ControlNetModel")):
            shutil.copytree(model / part, folder / "seesr" / part)
            config = read_json(model / part / "config.json")
            config = {k: v for k, v in config.items() if k not in ("image_embed_dim", "_name_or_path")}
            _write_json(folder / "seesr" / part / "config.json", config | {"_class_name": class_name})
        processor = folder / "base" / "feature_extractor" / "preprocessor_config.json"
        processor.parent.mkdir()
        _write_json(processor, _FEATURE_EXTRACTOR)
        _write_tagger(model / "tagger", folder)


def _class_of(config: Path) -> str:
    return str(read_json(config).get("_class_name")) if config.is_file() else ""


def _check_readable(model: Path, wanted: dict[str, str]) -> None:
    """wanted: part → the only class of it that the published code has.

    Raises:
        SeesrError: a part is of another.
    """
    found = {part: _class_of(model / part / "config.json") for part in wanted}
    other = [f"{part or 'this'} is {found[part]}" for part in wanted if found[part] != wanted[part]]
    if other:
        raise SeesrError(
            f"{model}: {', '.join(other)}, which the published code cannot read; only models of its own networks "
            "convert back"
        )


def _write_tagger(tagger: Path, out: Path) -> None:
    """RAM, DAPE where the tagger has it, and the two lists."""
    config = read_json(tagger / "config.json")
    tensors = read_state_dict(find_weights(tagger))
    lora = {name: tensor for name, tensor in tensors.items() if name.endswith(("lora_A", "lora_B"))}
    plain = {name: tensor for name, tensor in tensors.items() if name not in lora}
    if lora:
        factors = at_published_rank(lora, config["lora_rank"], config.get("lora_alpha", 1.0), tagger)
        torch.save(split_tied(to_published(factors), PUBLISHED_RANK), out / "DAPE.pth")
    torch.save({"model": to_published(plain)}, out / "ram_swin_large_14m.pth")
    (out / "ram_tag_list.txt").write_text("\n".join(config["tags"]) + "\n")
    (out / "ram_tag_list_threshold.txt").write_text("".join(f"{t}\n" for t in config["thresholds"]))


def read_tagger(ram: Path, dape: Path | None, tags: Path, thresholds: Path) -> Tagger:
    """A tagger from RAM's checkpoint, DAPE's factors and the two lists.

    Raises:
        SeesrError: see `convert`.
    """
    try:
        limits = [float(line) for line in read_lines(thresholds)]
    except ValueError as error:
        raise SeesrError(f"{thresholds}: not a list of numbers, one a line") from error
    names = read_lines(tags)
    if all(re.fullmatch(r"[\d.]+", name) for name in names):
        raise SeesrError(f"{tags}: a list of numbers, not of tags; is it the threshold list?")
    factors = None if dape is None else read_state_dict(dape)
    return build_tagger(read_state_dict(ram), factors, names, limits, (ram, dape))


def read_rca_model(model_class: type[Model], folder: Path) -> Model:
    """SeeSR's UNet or ControlNet from its published folder, tensors as stored.

    Raises:
        SeesrError: see `convert`.
    """
    config = read_json(folder / "config.json")
    if not config.get("use_image_cross_attention"):
        raise SeesrError(f"{folder}: its config.json has no use_image_cross_attention; this is not SeeSR's")
    weights = find_weights(folder)
    tensors = read_state_dict(weights)
    widths = {t.shape[1] for name, t in tensors.items() if ".image_attentions." in name and ".attn2.to_k." in name}
    if len(widths) == 1:
        config["image_embed_dim"] = widths.pop()
    with init_empty_weights(include_buffers=False):
        model = cast(Model, model_class.from_config(config))
    load_strictly(model, tensors, weights)
    return model


def _read_turbo_unet(base: Path, seesr: Path) -> SemanticUNet:
    """`base`'s UNet with the image cross-attention of SeeSR's put in."""
    semantic = read_state_dict(find_weights(seesr))
    config = read_json(base / "config.json") | {"use_image_cross_attention": True}
    weights = find_weights(base)
    with init_empty_weights(include_buffers=False):
        unet = cast(SemanticUNet, SemanticUNet.from_config(config))
    names = image_attention_parameters(unet)
    tensors = {name: tensor for name, tensor in semantic.items() if name in names}
    load_strictly(unet, read_state_dict(weights) | tensors, f"{weights} with the image attentions of {seesr}")
    return unet


def _read_vae(folder: Path) -> AutoencoderKL:
    weights = find_weights(folder)
    tensors = read_state_dict(weights)
    if any(".attentions.0.query." in name for name in tensors):  # as saved before diffusers 0.12
        tensors = {_new_vae_name(name): _linear(name, tensor) for name, tensor in tensors.items()}
    with init_empty_weights(include_buffers=False):
        vae = AutoencoderKL.from_config(read_json(folder / "config.json"))
    load_strictly(vae, tensors, weights)
    return vae


def _new_vae_name(name: str) -> str:
    for old, new in _OLD_VAE_ATTENTION.items():
        if ".attentions." in name:
            name = name.replace(old, new)
    return name


def _linear(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Some old files keep these projections as 1x1 convolutions."""
    return tensor[..., 0, 0] if tensor.ndim == 4 and any(old in name for old in _OLD_VAE_ATTENTION) else tensor


def _read_text_encoder(folder: Path) -> CLIPTextModel:
    weights = find_weights(folder)
    config = CLIPTextConfig.from_dict(read_json(folder / "config.json"))
    with init_empty_weights(include_buffers=False):
        model = CLIPTextModel(config)
    prefix = "text_model."
    bare = not any(name.startswith(prefix) for name in model.state_dict())
    tensors: StateDict = {
        (name.removeprefix(prefix) if bare else name): tensor for name, tensor in read_state_dict(weights).items()
    }
    load_strictly(model, tensors, weights, ignore=lambda name: name.endswith("position_ids"))
    return model


def _read_tokenizer(folder: Path) -> CLIPTokenizer:
    if not (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise SeesrError(f"{folder}: holds no tokenizer (vocab.json and merges.txt)")
    return CLIPTokenizer.from_pretrained(str(folder))


def _read_scheduler(folder: Path) -> DDPMScheduler:
    """The noise schedule as DDPM, whatever class the folder names (Stable Diffusion 2-base ships PNDM)."""
    config: dict[str, Any] = {"clip_sample": False} | read_json(folder / "scheduler_config.json")
    if "beta_start" not in config or "num_train_timesteps" not in config:
        raise SeesrError(f"{folder / 'scheduler_config.json'}: not a noise schedule that DDPM knows")
    return cast(DDPMScheduler, DDPMScheduler.from_config(config))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
