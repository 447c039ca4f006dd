"""Folders that went wrong, and a restorer that is quick: it enlarges bicubically, as slowly as it is told."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seesr.models.tagging import Tag
from seesr.restoration.outputs import Progress, SeeSROutput
from seesr.restoration.profiles import ENLARGER_ONLY
from seesr.restoration.settings import Settings
from seesr.restoration.sizes import output_size

MARKUP = ("IMG_1 [edited].png", "[bold red]x.png", "set [/last] x/b.png", "z.png")


class QuickRestorer:
    """Takes the place of a model; sees a cat everywhere."""

    enlarger = None

    def __init__(self, seconds: float = 0.0, on_photo: Callable[[int], None] = lambda count: None) -> None:
        self.seconds, self.on_photo, self.count = seconds, on_photo, 0

    def profile(self, name: str | None = None) -> Settings:
        return ENLARGER_ONLY

    def settings(self, profile: str | None = None, **given: Any) -> Settings:
        return ENLARGER_ONLY.with_overrides(**given)

    def remarks(self, profile: str | None, given: dict[str, Any]) -> list[str]:
        return []

    def working_bytes(self, photo: tuple[int, int], scale: float, settings: Settings) -> int:
        return 0

    def __call__(
        self, image: Image.Image, scale: float, callback: Callable[[Progress], None], **settings: Any
    ) -> SeeSROutput:
        self.count += 1
        self.on_photo(self.count)
        time.sleep(self.seconds)
        callback(Progress("enlarge", 1, 1))
        picture = image.resize(output_size(*image.size, scale), Image.Resampling.BICUBIC)
        return SeeSROutput([picture], [[Tag("cat", 0.9)]], [""], [""], [{}], notes=[""])


def photo(path: Path, size: tuple[int, int] = (12, 9), seed: int = 0) -> Path:
    """A small photo of noise, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def markup_names(folder: Path) -> Path:
    """Names that a terminal's markup would read."""
    for name in MARKUP:
        photo(folder / name)
    return folder


def own_file(folder: Path) -> Path:
    """A photo of one's own where a result would go."""
    photo(folder / "p.png")
    Image.new("RGB", (20, 10), (10, 20, 200)).save(folder / "p_4x.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that is not hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("[!.]*"))
        if path.is_file()
    }
