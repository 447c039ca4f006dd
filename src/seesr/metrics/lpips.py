"""LPIPS v0.1, a learned perceptual distance (Zhang et al., CVPR 2018, arXiv 1801.03924), on AlexNet.

Features of five stages are brought to unit length over channels; their squared difference, weighted per channel by a
learned head, is averaged over positions and summed over stages. Backbone and heads lie in one file, see `backbones`.
(The authors' scaling of inputs in [-1, 1] is ImageNet's normalisation of [0, 1], written in another way.)
"""

import torch
import torch.nn.functional as F
from torch import nn

from seesr.metrics.backbones import ALEXNET_CHANNELS, alexnet_features, read_lpips_checkpoint


class Lpips(nn.Module):
    """LPIPS-Alex of pictures x against references y; 0 for equal pictures, larger is worse.

    Args (forward): `x` and `y`, RGB (B, 3, H, W) in [0, 1]. Returns (B,). Differentiable in both, frozen itself.

    Raises:
        SeesrError: the weights could not be fetched or read.
    """

    heads: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.alexnet = alexnet_features()
        arrays = read_lpips_checkpoint("alexnet")
        heads = [torch.tensor(arrays[f"NetLinLayer_{k}"]["Conv_0"]["kernel"]).flatten() for k in range(5)]
        self.register_buffer("heads", torch.cat(heads))  # (1152,)
        self.eval()

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        distance = torch.zeros(len(x), device=x.device, dtype=x.dtype)
        for fx, fy, head in zip(self.alexnet(x), self.alexnet(y), self.heads.split(ALEXNET_CHANNELS)):
            difference = F.normalize(fx, eps=1e-10) - F.normalize(fy, eps=1e-10)  # (B, C, h, w)
            distance = distance + head @ (difference**2).mean((2, 3)).T
        return distance
