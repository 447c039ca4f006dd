"""Methods by name, behind one interface: a list of low-resolution pictures in, a list of restored ones out.

A method is named by one line of text: a bare word (`bicubic`, `realesrgan-x4plus`), KIND:WHAT (`spandrel:FILE`,
`ldm:FOLDER`, `folder:PATH`, `command:TEMPLATE`), or a SeeSR model with what to change (`mini:diffusion,start=noise`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from seesr.checkpoints.registry import BUILT, resolve
from seesr.errors import SeesrError
from seesr.evaluation.baselines import realesrgan
from seesr.evaluation.baselines.bicubic import Bicubic
from seesr.evaluation.baselines.checkpoint import Checkpoint
from seesr.evaluation.baselines.external import Command, OutputFolder
from seesr.evaluation.baselines.interface import Method
from seesr.evaluation.baselines.latent_diffusion import LatentDiffusion
from seesr.evaluation.baselines.seesr_model import SeeSRModel, add_settings

_KINDS: dict[str, tuple[str, Callable[[str, str, torch.device], Method]]] = {
    "spandrel": ("FILE", lambda name, what, device: Checkpoint(name, Path(what).expanduser(), device)),
    "ldm": ("FOLDER", LatentDiffusion.parse),
    "folder": ("PATH", lambda name, what, device: OutputFolder(name, Path(what).expanduser())),
    "command": ("TEMPLATE", lambda name, what, device: Command(name, what)),
}


def make_method(name: str, device: torch.device) -> Method:
    """The method called `name`; no network is loaded yet, but published weights it needs are fetched.

    Raises:
        SeesrError: no such method, model or file, an unknown setting or a value it cannot have, a template without
            placeholders, an optional package that is missing, weights that cannot be fetched.
    """
    if name == "bicubic":
        return Bicubic()
    if name in realesrgan.NETWORKS:
        return realesrgan.RealESRGAN(name)
    kind, colon, rest = name.partition(":")
    if colon and kind in _KINDS:
        return _KINDS[kind][1](name, rest, device)
    model, settings = _split(name)
    method = SeeSRModel.parse(name, model, settings, device)
    try:
        resolve(model)
    except SeesrError as error:
        if model in BUILT:
            raise  # there is such a model, but its weights could not be fetched
        kinds = [f"{kind}:{what}" for kind, (what, _) in _KINDS.items()]
        known = ", ".join(["bicubic", *realesrgan.NETWORKS, *kinds])
        raise SeesrError(f"no method {name!r}: {known}, or a SeeSR model; {error}") from None
    return method


def apply_settings(names: Sequence[str], settings: Sequence[str]) -> dict[str, str]:
    """Name as given → name with `settings` (each `key=value`) added; those in a SeeSR model's own name win.

    Raises:
        SeesrError: none of the methods is a SeeSR model, or a setting that there is not.
    """
    changed = {name: name for name in names}
    if not settings:
        return changed
    for name in names:
        model, own = _split(name)
        if _is_model(model):
            changed[name] = f"{model}:{add_settings(own, settings)}"
    if all(name == new for name, new in changed.items()):
        raise SeesrError("`settings` can change only SeeSR models, and none is among the methods")
    return changed


def _split(name: str) -> tuple[str, str]:
    """A SeeSR model and its settings, split at the first colon that follows a model's name."""
    for position, character in enumerate(name):
        if character == ":" and _is_model(name[:position]):
            return name[:position], name[position + 1 :]
    return name, ""


def _is_model(name: str) -> bool:
    if name in BUILT:
        return True  # `resolve` would fetch it
    try:
        resolve(name)
    except SeesrError:
        return False
    return True
