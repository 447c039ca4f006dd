"""Pictures of two folders that belong together: restored ones and their references."""

from dataclasses import dataclass
from pathlib import Path

from seesr.errors import SeesrError
from seesr.photos.files import READABLE


@dataclass(frozen=True)
class Pair:
    """A restored picture and its reference, if there is one; `name` is the restored file's name without suffix."""

    name: str
    restored: Path
    reference: Path | None


def pair_images(restored: Path, reference: Path | None) -> list[Pair]:
    """Pictures of two folders by name without suffix, sorted; the reference is None throughout if no folder is given.

    Raises:
        SeesrError: a folder is missing or empty, a name occurs twice, or a picture has no partner.
    """
    outputs = _images_by_name(restored)
    if reference is None:
        return [Pair(name, path, None) for name, path in outputs.items()]
    targets = _images_by_name(reference)
    for present, absent, folder in ((outputs, targets, reference), (targets, outputs, restored)):
        lonely = [path for name, path in present.items() if name not in absent]
        if lonely:
            more = f" (and {len(lonely) - 1} more)" if len(lonely) > 1 else ""
            raise SeesrError(f"{lonely[0]}{more}: no picture of that name in {folder}; add it or take this one out")
    return [Pair(name, path, targets[name]) for name, path in outputs.items()]


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
