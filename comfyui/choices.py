"""What the nodes' lists offer: models, profiles, number formats, where a model waits, folders of photos."""

import json
from importlib.resources import files
from pathlib import Path

import folder_paths

from seesr.photos.kinds import READABLE

FOLDER = "seesr"
"""Of ComfyUI's model folders; `extra_model_paths.yaml` may name more."""

DTYPES = ("auto", "float32", "bfloat16", "float16")

WHERE_ROOM = "when others need room"
PART_BY_PART = "part by part"
STAYS = "never"
OFFLOADS = (WHERE_ROOM, PART_BY_PART, STAYS)

INPUT_ITSELF = "."
MODELS_OWN = "model's own"
MODELS_DEFAULT = "model's default"
_UPSCALERS = "upscale_models"
_BY_NAME = ("mini", "sd2", "sd2-turbo")
_PROFILES = ("fast", "paper")
_INDEX = "model_index.json"

folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def models() -> list[str]:
    """Models known by name, and the model folders in ComfyUI's `models/seesr`."""
    return [*_BY_NAME, *(name for name in _folders() if name not in _BY_NAME)]


def model_path(name: str) -> str:
    """What `seesr` calls the model: its folder in `models/seesr` if there is one, else its name."""
    return str(_folders().get(name, name))


def enlargers() -> list[str]:
    """Files of ComfyUI's `models/upscale_models`, after the model's own enlarger."""
    return [MODELS_OWN, *folder_paths.get_filename_list(_UPSCALERS)]


def enlarger_path(name: str) -> Path | None:
    """The file called `name` in a list of `enlargers`; None for the model's own."""
    return None if name == MODELS_OWN else Path(folder_paths.get_full_path_or_raise(_UPSCALERS, name))


def profiles() -> list[str]:
    """Every profile that one of the models has; the model's default first."""
    found: dict[str, None] = {}
    mini = Path(str(files("seesr"))) / "assets" / "mini"
    for folder in (mini, *_folders().values()):
        try:
            index = json.loads((folder / _INDEX).read_text())
        except (OSError, ValueError):
            continue  # told when the model is loaded
        if isinstance(index, dict):
            found.update(dict.fromkeys(index.get("profiles") or ()))
    return [MODELS_DEFAULT, *dict.fromkeys((*_PROFILES, *found))]


def input_folders() -> list[str]:
    """ComfyUI's input folder and those in it."""
    root = Path(folder_paths.get_input_directory())
    inside = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir())
    return [INPUT_ITSELF, *inside]


def photo_files(folder: str) -> list[Path]:
    """The photos in a folder of `input_folders`, by suffix, in the order of their names."""
    place = Path(folder_paths.get_input_directory()) / folder
    return sorted(path for path in place.iterdir() if path.suffix.lower() in READABLE and path.is_file())


def _folders() -> dict[str, Path]:
    places = [Path(place) for place in folder_paths.get_folder_paths(FOLDER)]
    return {
        folder.name: folder
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if (folder / _INDEX).is_file()
    }
