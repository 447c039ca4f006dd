"""Training photos, decoded once into memory, and the crops cut from them.

Every sample is a pure function of the seed and its running number: which photo (a fresh permutation each epoch), where
the crop lies, how it is turned, and the seed of its degradation. So a run resumes at any sample without a trace, and
the number of worker processes changes nothing.
"""

import io
import json
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from seesr.degradation import Degradation, preset
from seesr.errors import SeesrError

logger = logging.getLogger(__name__)

SCALE = 4  # HR side / LR side
PICTURES = (".webp", ".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Photo:
    """A decoded photo: RGB `pixels`, (H, W, 3) uint8; `info` is the JSON file beside it, if any."""

    name: str
    pixels: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)


def load_photos(sources: list[str], minimum: int) -> list[Photo]:
    """Decode all photos of folders and tar shards (WebDataset layout), in the order of `sources`, then of their names.

    Args:
        sources: paths of folders or `.tar` files; `*` and `?` are expanded.
        minimum: smallest width and height that is of use, in pixels.

    Damaged pictures are left out, counted, and reported in the log.

    Raises:
        SeesrError: a source is missing, holds no picture, is a shard cut short, or has photos smaller than `minimum`.
    """
    photos: list[Photo] = []
    damaged: list[str] = []
    for source in (path for pattern in sources for path in _expand(pattern)):
        files = _tar_files(source) if source.is_file() else _folder_files(source)
        count = len(photos) + len(damaged)
        for name, content, info in files:
            try:
                with Image.open(io.BytesIO(content)) as image:
                    pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                damaged.append(f"{name} ({error})")
                continue
            photos.append(Photo(name, pixels, info))
        if len(photos) + len(damaged) == count:
            raise SeesrError(f"{source} holds no picture ({', '.join(PICTURES)}); check the path")
    if damaged:
        logger.warning("left out %d damaged pictures, the first is %s", len(damaged), damaged[0])
    if not photos:
        raise SeesrError(f"none of the {len(damaged)} pictures in {', '.join(sources)} can be read")
    small = [photo for photo in photos if min(photo.pixels.shape[:2]) < minimum]
    if small:
        height, width = small[0].pixels.shape[:2]
        raise SeesrError(
            f"{len(small)} of {len(photos)} photos are smaller than the crop of {minimum} pixels, the first is "
            f"{small[0].name} ({width}x{height}); remove them or make the crop smaller"
        )
    return photos


class Crops(Dataset[dict[str, Tensor]]):
    """Endless random crops, mirrored and, with `turn`, turned by quarters.

    Sample number -> `hr`, uint8 (3, crop, crop), and its `seed`.
    """

    def __init__(self, photos: list[Photo], crop: int, seed: int, turn: bool = True):
        self.photos = photos
        self.crop = crop
        self.seed = seed
        self.turn = turn
        self._permutation = lru_cache(maxsize=2)(self._draw_permutation)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        epoch, position = divmod(index, len(self.photos))
        pixels = self.photos[self._permutation(epoch)[position]].pixels
        rng = np.random.default_rng((self.seed, 1, index))
        top, left = (int(rng.integers(side - self.crop + 1)) for side in pixels.shape[:2])
        crop = pixels[top : top + self.crop, left : left + self.crop]
        if self.turn:
            crop = np.rot90(crop, int(rng.integers(4)))
        if rng.integers(2):
            crop = crop[:, ::-1]
        hr = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))  # (3, crop, crop)
        return {"hr": hr, "seed": torch.tensor(int(rng.integers(2**62)))}

    def _draw_permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.photos))


class DegradationMix:
    """Degradations by preset name, with weights; every sample draws its preset by its seed.

    Raises SeesrError for an unknown preset and for weights that are negative or all zero.
    """

    def __init__(self, weights: dict[str, float]):
        total = sum(weights.values())
        if total <= 0 or min(weights.values()) < 0:
            raise SeesrError(f"degradation: the weights {weights} are no mixture; give numbers >= 0, one of them > 0")
        self.degradations = [Degradation(preset(name)) for name in weights]
        self.shares = [weight / total for weight in weights.values()]

    def __call__(self, hr: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] and (B,) seeds -> LR (B, 3, H/4, W/4) and target (B, 3, H, W), both in [0, 1]."""
        pairs = []
        with torch.autocast(hr.device.type, enabled=False):  # pixels are made in full precision, whatever the networks'
            for image, seed in zip(hr.split(1), seeds.cpu().split(1)):
                chosen = np.random.default_rng((2, int(seed))).choice(len(self.shares), p=self.shares)
                pairs.append(self.degradations[chosen](image, seed))
        lr, target = zip(*pairs)
        return torch.cat(lr), torch.cat(target)


class Pairs(Dataset[dict[str, Tensor]]):
    """Crops degraded where they are loaded, so that worker processes share the work.

    Sample number -> `lr` (3, crop/4, crop/4), `target` (3, crop, crop), both in [0, 1], and the `seed` of the sample.
    """

    def __init__(self, crops: Crops, degrade: DegradationMix):
        self.crops = crops
        self.degrade = degrade

    def __len__(self) -> int:
        """Samples of one epoch."""
        return len(self.crops.photos)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.crops[index]
        lr, target = self.degrade(sample["hr"][None].float() / 255, sample["seed"][None])
        return {"lr": lr[0], "target": target[0], "seed": sample["seed"]}


def enlarge(lr: Tensor) -> Tensor:
    """(B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w) in 8-bit steps: the bicubic kernel of Pillow, as the pipeline's."""
    enlarged = F.interpolate(lr, scale_factor=SCALE, mode="bicubic", antialias=True).clamp(0, 1)
    return (enlarged * 255).round() / 255


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.exists():
        return [path]
    found = sorted(path.parent.glob(path.name))
    if not found:
        raise SeesrError(f"there is no file or folder {pattern}; check the path")
    return found


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in PICTURES:
            sidecar = file.with_suffix(".json")
            yield str(file), file.read_bytes(), _read_info(sidecar.read_bytes(), sidecar) if sidecar.is_file() else {}


def _tar_files(shard: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Pictures of a shard with their JSON, by the part of the name that they share."""
    pictures: dict[str, tuple[str, bytes]] = {}
    infos: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is None:
                    continue
                stem, suffix = member.name.rsplit(".", 1) if "." in member.name else (member.name, "")
                if f".{suffix.lower()}" in PICTURES:
                    pictures[stem] = (f"{shard}/{member.name}", content.read())
                elif suffix == "json":
                    infos[stem] = _read_info(content.read(), Path(f"{shard}/{member.name}"))
        complete = _ends_in_zeros(shard)
    except (tarfile.TarError, OSError):
        complete = False
    if not complete:
        raise SeesrError(f"the shard {shard} is cut short or no tar file; fetch it again")
    for stem in sorted(pictures):
        yield *pictures[stem], infos.get(stem, {})


def _ends_in_zeros(shard: Path) -> bool:
    """Whether the file ends in the two zero blocks that close every tar archive."""
    with shard.open("rb") as file:
        file.seek(-1024, io.SEEK_END)
        return not any(file.read())


def _read_info(content: bytes, file: Path) -> dict[str, Any]:
    try:
        info = json.loads(content)
    except ValueError:
        info = None
    if not isinstance(info, dict):
        raise SeesrError(f"{file} is no JSON object; mend or remove it")
    return info
