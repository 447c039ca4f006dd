"""Pictures of two folders that belong together: restored ones and their references."""

import re
from dataclasses import dataclass
from pathlib import Path

from seesr.errors import SeesrError
from seesr.photos.files import READABLE

_ENDING = re.compile(r"(?:[-_.]?x\d+|[-_.](?:lr|hr|lq|hq|gt|sr)(?:[-_.]?x?\d+)?)$", re.IGNORECASE)
"""What the field's sets add to a picture's name to say which side it is: 0801x4, Canon_001_LR4, Canon_001_HR."""


@dataclass(frozen=True)
class Pair:
    """A restored picture and its reference, if there is one; `name` is the restored file's name without suffix."""

    name: str
    restored: Path
    reference: Path | None


def pair_images(restored: Path, reference: Path | None) -> list[Pair]:
    """Pictures of two folders by name without suffix, sorted; the reference is None throughout if no folder is given.

    Where a picture has no namesake, the endings that the field's sets add are ignored: `0801x4` belongs to `0801`,
    `a_LR4` to `a_HR`.

    Raises:
        SeesrError: a folder is missing or empty, a name occurs twice, or a picture has no partner.
    """
    outputs = _images_by_name(restored)
    if reference is None:
        return [Pair(name, path, None) for name, path in outputs.items()]
    targets = _images_by_name(reference)
    partners = {name: name for name in outputs.keys() & targets.keys()}
    spare = _by_core(targets.keys() - partners.keys(), targets)
    for core, name in _by_core(outputs.keys() - partners.keys(), outputs).items():
        if core in spare:
            partners[name] = spare.pop(core)
    found = set(partners.values())
    for present, paired, folder in ((outputs, partners.keys(), reference), (targets, found, restored)):
        lonely = [path for name, path in present.items() if name not in paired]
        if lonely:
            more = f" (and {len(lonely) - 1} more)" if len(lonely) > 1 else ""
            raise SeesrError(f"{lonely[0]}{more}: no picture of that name in {folder}; add it or take this one out")
    return [Pair(name, path, targets[partners[name]]) for name, path in outputs.items()]


def _by_core(names: set[str], paths: dict[str, Path]) -> dict[str, str]:
    """Names without their endings → whole names."""
    found: dict[str, str] = {}
    for name in sorted(names):
        core = _ENDING.sub("", name)
        if core in found:
            raise SeesrError(
                f"{paths[name]}: belongs to the same picture as {paths[found[core]].name}; keep one of them"
            )
        found[core] = name
    return found


def _images_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SeesrError(f"{folder}: no such folder")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in READABLE and not path.name.startswith("."):
            if path.stem in images:
                raise SeesrError(f"{path}: {images[path.stem].name} has the same name; keep one of the two")
            images[path.stem] = path
    if not images:
        raise SeesrError(f"{folder}: no pictures in this folder")
    return images
