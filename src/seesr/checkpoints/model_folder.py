"""A model as a folder in diffusers' layout: a subfolder a component, and `model_index.json` that names their classes.

`SeeSRPipeline.from_pretrained` reads it, `SeeSRPipeline.save_pretrained` writes the same. diffusers' own
`DiffusionPipeline.from_pretrained` reads it too: after `import seesr` (`seesr.system.discovery`), or without that
with `trust_remote_code=True` by the folder's `pipeline.py`, which imports the package.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

COMPONENTS = ("vae", "text_encoder", "tokenizer", "tagger", "unet", "controlnet", "scheduler", "enlarger", "quick")
"""Every component that a SeeSR model may have; each may be left out."""

INDEX = "model_index.json"

PIPELINE_CLASS = "SeeSRPipeline"
PIPELINE_FILE = "pipeline"
"""Name, without suffix, of the file in which diffusers looks for the class; the index names both."""

_PIPELINE_CODE = '''"""For diffusers: DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

from seesr.pipeline import SeeSRPipeline

__all__ = ["SeeSRPipeline"]
'''


def write_model(
    folder: Path,
    components: Mapping[str, Any],
    profiles: Mapping[str, Mapping[str, Any]],
    default_profile: str,
    residual_decoding: bool = False,
) -> None:
    """Write each component into its subfolder of `folder`, and the index.

    Args:
        components: name, one of `COMPONENTS`, → what has `save_pretrained`; those left out are written as missing.
        profiles, default_profile, residual_decoding: see `SeeSRPipeline`.
    """
    index: dict[str, Any] = {
        "_class_name": PIPELINE_CLASS,
        "_diffusers_version": diffusers.__version__,
        "default_profile": default_profile,
        "profiles": profiles,
        "residual_decoding": residual_decoding,
    }
    for name in COMPONENTS:
        component = components.get(name)
        index[name] = [None, None] if component is None else [_library(component), type(component).__name__]
        if component is not None:
            component.save_pretrained(folder / name)
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    mark_folder(folder)


def mark_folder(folder: Path) -> None:
    """Make a model folder one that diffusers finds the class of: `pipeline.py`, and its name in the index."""
    index = json.loads((folder / INDEX).read_text())
    index["_class_name"] = [PIPELINE_FILE, PIPELINE_CLASS]
    index.pop("_name_or_path", None)  # where it lay on this machine
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    (folder / f"{PIPELINE_FILE}.py").write_text(_PIPELINE_CODE)


def class_name(index: Mapping[str, Any]) -> str:
    """The pipeline's class that an index names; "" for none. Older folders name the class alone."""
    named = index.get("_class_name") or ""
    return str(named[-1] if isinstance(named, list | tuple) else named)


def _library(component: Any) -> str:
    """The top-level package of a component, which is where its class is imported from."""
    return type(component).__module__.partition(".")[0]
