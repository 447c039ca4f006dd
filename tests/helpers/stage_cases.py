"""Photos and a model small enough to train the paper's two stages on in a test."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from seesr.checkpoints.files import find_weights, read_state_dict


def squares_photos(folder: Path) -> Path:
    """Six photos of 8 x 8 coloured squares."""
    folder.mkdir()
    for number in range(6):
        squares = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(squares.repeat(16, 0).repeat(16, 1)).save(folder / f"{number}.png")
    return folder


def with_tagger(model: Path, tagger: Path, folder: Path) -> Path:
    """A copy of a model's folder with another tagger."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("tagger"))
    shutil.copytree(tagger, folder / "tagger")
    return folder


def tensors(folder: Path) -> dict[str, Tensor]:
    """The weights in a component's folder."""
    return read_state_dict(find_weights(folder))
