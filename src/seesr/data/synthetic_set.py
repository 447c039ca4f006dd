"""A synthetic test set in the manner of DIV2K-Val: random crops of photos and their degraded copies.

StableSR's set, which the field's tables use, is 3000 crops of 512 pixels from the 100 validation photos of DIV2K,
degraded by Real-ESRGAN's process. This makes such a set from any photos; each crop and its degradation are drawn
from the seed and its number, so the same command makes the same set. `seesr evaluate` reads the folder.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from seesr.data.photos import TrainingPhoto
from seesr.data.samples import SCALE
from seesr.degradation import Degradation, preset
from seesr.errors import SeesrError
from seesr.photos.pictures import to_pil
from seesr.system.atomic import write_folder


def check_new(output: Path) -> None:
    """Raises SeesrError if there is something at `output` already."""
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise SeesrError(f"{output}: exists already; choose another folder, or remove it")


def make_test_set(
    photos: Sequence[TrainingPhoto],
    output: Path,
    *,
    count: int,
    crop: int,
    preset_name: str,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `hr/000000.png` … (`crop` pixels), `lr/` alike (a quarter of that) and `manifest.json` with their SHA-256.

    The photos take turns. The clean picture is the photo's own, not sharpened, whatever the preset.

    Raises:
        SeesrError: `output` exists, or the numbers make no sense.
    """
    check_new(output)
    if count < 1 or crop < SCALE or crop % SCALE:
        raise SeesrError(f"cannot make {count} crops of {crop} pixels; give at least one, of a multiple of {SCALE}")
    degrade = Degradation(preset(preset_name), SCALE)

    def write(folder: Path) -> None:
        digests: dict[str, str] = {}
        for side in ("hr", "lr"):
            (folder / side).mkdir()
        for number in range(count):
            rng = np.random.default_rng((seed, number))
            pixels = photos[number % len(photos)].pixels  # (H, W, 3)
            top, left = (int(rng.integers(length - crop + 1)) for length in pixels.shape[:2])
            hr = torch.tensor(pixels[top : top + crop, left : left + crop].transpose(2, 0, 1)[None]) / 255
            lr, _ = degrade(hr, torch.tensor([int(rng.integers(2**62))]))
            for side, picture in (("hr", hr), ("lr", lr)):
                stream = io.BytesIO()
                to_pil(picture).save(stream, "PNG")
                name = f"{side}/{number:06d}.png"
                (folder / name).write_bytes(stream.getvalue())
                digests[name] = hashlib.sha256(stream.getvalue()).hexdigest()
            progress(number + 1, count)
        settings = {"photos": len(photos), "count": count, "crop": crop, "preset": preset_name, "seed": seed}
        (folder / "manifest.json").write_text(json.dumps(settings | {"files": digests}, indent=1) + "\n")

    write_folder(output, write)
