"""A bank of degraded crops, made once: each with its clean picture and, if wanted, what a larger enlarger makes of it.

A small network trains faster than its samples can be degraded, and far faster than a teacher answers. So both are done
beforehand, by `seesr.training.make_bank`, in shards of `SHARD` samples, and training cuts smaller windows out of them.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from seesr.errors import SeesrError
from seesr.models.tiled_enlarger import SCALE

SHARD = 64  # samples
SIDE = 64  # pixels of a degraded crop


class Bank(Dataset[dict[str, Tensor]]):
    """Random windows of the samples in a bank's folder, without end.

    Sample number -> uint8 `lr` (3, crop/4, crop/4), `hr` (3, crop, crop) and, in a bank with a teacher's answers,
    `taught` (3, crop, crop).

    Raises:
        SeesrError: the folder holds no shard or a damaged one, or the crop is larger than its samples.
    """

    def __init__(self, folder: Path | str, crop: int, seed: int):
        files = sorted(Path(folder).glob("*.safetensors"))
        if not files:
            raise SeesrError(f"bank: no shards in {folder}; make some with python -m seesr.training.make_bank")
        if crop % SCALE or not 0 < crop <= SCALE * SIDE:
            raise SeesrError(f"crop is {crop}; out of a bank it is a multiple of {SCALE}, at most {SCALE * SIDE}")
        self.shards = [_read(file) for file in files]
        self.crop = crop
        self.seed = seed
        self._permutation = lru_cache(maxsize=2)(self._draw_permutation)

    def __len__(self) -> int:
        """Samples of one epoch."""
        return SHARD * len(self.shards)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        epoch, position = divmod(index, len(self))
        shard, place = divmod(int(self._permutation(epoch)[position]), SHARD)
        rng = np.random.default_rng((self.seed, 1, index))
        side = self.crop // SCALE
        top, left = (int(start) for start in rng.integers(SIDE - side + 1, size=2))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        sample = {}
        for name, pictures in self.shards[shard].items():
            scale = 1 if name == "lr" else SCALE
            window = pictures[place, :, scale * top : scale * (top + side), scale * left : scale * (left + side)]
            window = window.rot90(turns, (1, 2))
            sample[name] = (window.flip(2) if mirrored else window).contiguous()
        return sample

    def _draw_permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self))


def _read(file: Path) -> dict[str, Tensor]:
    try:
        shard = load_file(file)
    except (OSError, SafetensorError) as error:
        raise SeesrError(f"bank: {file} cannot be read ({error}); remove it and make it again") from None
    sides = {"lr": SIDE, "hr": SCALE * SIDE, "taught": SCALE * SIDE}
    wrong = [name for name, value in shard.items() if value.shape != (SHARD, 3, sides.get(name), sides.get(name))]
    if wrong or not {"lr", "hr"} <= shard.keys():
        raise SeesrError(f"bank: {file} is no shard of this version's banks; remove the folder and make it again")
    return shard
