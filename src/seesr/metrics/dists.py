"""DISTS, a full-reference metric of structure and texture (Ding et al., TPAMI 2020, arXiv 2004.07728).

In every channel of the picture itself and of five stages of a VGG16, one ratio in the form of SSIM compares the means
(texture) and one the covariance with the variances (structure); learned alpha and beta weigh the two over all 1475
channels. The VGG halves its resolution by L2 pooling with a Hann window, since max-pooling would alias. Pictures are
not resized. The weights are the authors', from the PyPI package `dists-pytorch`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.metrics.backbones import VGG16_CHANNELS, vgg16_features

_WEIGHTS = (
    "dists-pytorch==0.1",
    "DISTS_pytorch/weights.pt",
    "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
)
_EPS = 1e-6  # c1 and c2


class Dists(nn.Module):
    """DISTS of pictures x against references y; 0 for equal pictures, larger is worse.

    Args (forward): `x` and `y`, RGB (B, 3, H, W) in [0, 1]. Returns (B,). Differentiable in both, frozen itself.

    Raises:
        SeesrError: the weights could not be fetched or read.
    """

    alpha: torch.Tensor
    beta: torch.Tensor

    def __init__(self, pool: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        self.vgg = vgg16_features(pool=pool or L2Pool)
        weights = torch.load(fetch_pypi_file(*_WEIGHTS), map_location="cpu", weights_only=True)
        alpha, beta = weights["alpha"].flatten(), weights["beta"].flatten()  # (1475,) each
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha / total)
        self.register_buffer("beta", beta / total)
        self.eval()

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        channels = (3, *VGG16_CHANNELS)
        similarity = torch.zeros(len(x), device=x.device)
        for fx, fy, alpha, beta in zip(
            [x, *self.vgg(x)], [y, *self.vgg(y)], self.alpha.split(channels), self.beta.split(channels)
        ):
            fx, fy = fx.float(), fy.float()  # in half precision nothing is left of the differences below
            mean_x, mean_y = fx.mean((2, 3)), fy.mean((2, 3))  # (B, C)
            var_x, var_y = fx.var((2, 3), unbiased=False), fy.var((2, 3), unbiased=False)
            covariance = (fx * fy).mean((2, 3)) - mean_x * mean_y
            texture = (2 * mean_x * mean_y + _EPS) / (mean_x**2 + mean_y**2 + _EPS)
            structure = (2 * covariance + _EPS) / (var_x + var_y + _EPS)
            similarity = similarity + (alpha * texture + beta * structure).sum(1)
        return 1 - similarity


class L2Pool(nn.Module):
    """Root of the Hann-weighted mean of squares, 3x3, stride 2: (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""

    kernel: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        hann = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(hann, hann).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # the small constant keeps the root's gradient finite where a channel is dead
        return (F.conv2d(x**2, self.kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
