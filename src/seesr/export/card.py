"""The card of a model that has none: the hub's front matter, what is in the folder, and how to load it."""

import json
import math
from pathlib import Path
from typing import Any

import seesr
from seesr.checkpoints.model_folder import COMPONENTS, INDEX

CARD = "README.md"

_TAGS = ["super-resolution", "image-restoration", "seesr", "diffusers", "arxiv:2311.16518"]


def front_matter(card: Path) -> dict[str, Any]:
    """What a card tells the hub; empty where there is no card, or it tells nothing.

    Raises:
        ValueError: a front matter that is no YAML mapping.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        told: Any = ModelCard(card.read_text(encoding="utf-8")).data if card.is_file() else None
        return dict(told.to_dict()) if told else {}
    except YAMLError as error:
        raise ValueError(str(error).partition("\n")[0]) from error


def write_card(folder: Path, name: str, licence: str, licence_file: str) -> str:
    """The card of the model folder `folder`.

    Args:
        name: what the card calls the model: its id on the hub, or a name.
        licence: by the hub's id, as "apache-2.0"; any other is called "other" there, under this name.
        licence_file: name of the file in the folder that holds its text.
    """
    from huggingface_hub import ModelCardData

    known = licence in _LICENCES
    told = ModelCardData(
        license=licence if known else "other",
        license_name=None if known else licence,
        license_link=licence_file,
        library_name="seesr",
        pipeline_tag="image-to-image",
        tags=_TAGS,
    )
    index = json.loads((folder / INDEX).read_text())
    parts = [f"- `{part}`: {_class(index, part)}{_size(folder / part)}" for part in COMPONENTS if _class(index, part)]
    default = index.get("default_profile", "paper")
    profiles = ", ".join(f"`{profile}`" for profile in index.get("profiles") or {}) or "those of the package"
    lines = [
        f"---\n{told.to_yaml()}\n---\n",
        f"# {name}\n",
        "A model of SeeSR (*Towards Semantics-Aware Real-World Image Super-Resolution*, CVPR 2024,",
        "[arXiv 2311.16518](https://arxiv.org/abs/2311.16518)): it restores degraded photos and enlarges them.\n",
        "## How to run it\n",
        f"It needs the Python package `seesr`, version {seesr.__version__} or newer.\n",
        "```",
        f"seesr upscale photo.jpg -o restored.png --model {name}",
        "```\n",
        "```python",
        "from diffusers import DiffusionPipeline",
        "from PIL import Image",
        "",
        f'pipeline = DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)',
        'pipeline(Image.open("photo.jpg")).images[0].save("restored.png")',
        "```\n",
        "`trust_remote_code=True` runs the folder's `pipeline.py`, which imports the package and does nothing else.\n",
        "## What is in it\n",
        *parts,
        "",
        f"Profiles: {profiles}. Without another choice: `{default}`.\n",
        f"Licence: [{licence}]({licence_file}).",
    ]
    return "\n".join(lines) + "\n"


def _class(index: dict[str, Any], part: str) -> str:
    return str((index.get(part) or [None, None])[1] or "")


def _size(folder: Path) -> str:
    """The number of weights of a component, as text; "" for one without."""
    from safetensors import safe_open

    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            count += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
    return f", {count / 1e6:.3g} million weights" if count else ""


_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "openrail", "openrail++", "creativeml-openrail-m", "gpl-3.0", "agpl-3.0", "lgpl-3.0"),
)
"""Licences that the hub knows by these ids, of those that models come under."""
