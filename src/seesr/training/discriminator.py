"""Two small discriminators that share the cost of the perceptual loss.

Heads on normalised VGG16 features judge texture and structure for next to nothing, since the features are there anyway
(projected discriminators, Sauer et al. 2021, arXiv 2111.01007); a U-Net with spectral normalisation judges every pixel
(Real-ESRGAN, Wang et al. 2021, arXiv 2107.10833, §3.4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from seesr.metrics.backbones import VGG16_CHANNELS


class Discriminator(nn.Module):
    """Scores of a picture: one map for each of VGG's last three stages, one of the U-Net for each pixel.

    Args:
        width: channels of the U-Net at full resolution; doubled at each of two reductions.
        crop: side of the square in the middle of the picture that the U-Net sees, in pixels; a multiple of 4.
    """

    STAGES = (2, 3, 4)  # relu3_3, relu4_3, relu5_3

    def __init__(self, width: int = 32, crop: int = 128):
        super().__init__()
        self.crop = crop
        self.heads = nn.ModuleList(FeatureHead(VGG16_CHANNELS[stage]) for stage in self.STAGES)
        self.unet = PixelDiscriminator(width)

    def forward(self, pictures: Tensor, features: list[Tensor]) -> list[Tensor]:
        """pictures (B, 3, H, W) in [0, 1] and their five stages of normalised features -> four score maps."""
        top, left = ((side - self.crop) // 2 for side in pictures.shape[-2:])
        middle = pictures[..., top : top + self.crop, left : left + self.crop]
        scores = [head(features[stage]) for head, stage in zip(self.heads, self.STAGES)]
        return [*scores, self.unet(middle)]


class FeatureHead(nn.Module):
    """Scores of each position of one feature stage: (B, channels, h, w) -> (B, 1, h, w)."""

    def __init__(self, channels: int, hidden: int = 64):
        super().__init__()
        self.reduce = spectral_norm(nn.Conv2d(channels, hidden, 1))
        self.mix = spectral_norm(nn.Conv2d(hidden, hidden, 3, padding=1))
        self.score = spectral_norm(nn.Conv2d(hidden, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        # unit vectors of many channels have tiny entries: back to a mean square of 1
        x = F.leaky_relu(self.reduce(features * features.shape[1] ** 0.5), 0.2)
        scores: Tensor = self.score(F.leaky_relu(self.mix(x), 0.2))
        return scores


class PixelDiscriminator(nn.Module):
    """U-Net with skips, two reductions: (B, 3, H, W) -> (B, 1, H, W)."""

    def __init__(self, width: int):
        super().__init__()
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down1 = spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False))
        self.down2 = spectral_norm(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False))
        self.up1 = spectral_norm(nn.Conv2d(4 * width, 2 * width, 3, padding=1, bias=False))
        self.up2 = spectral_norm(nn.Conv2d(2 * width, width, 3, padding=1, bias=False))
        self.mix = spectral_norm(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.score = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        full = _lrelu(self.enter(pictures * 2 - 1))  # (B, width, H, W)
        half = _lrelu(self.down1(full))  # (B, 2*width, H/2, W/2)
        x = _lrelu(self.down2(half))  # (B, 4*width, H/4, W/4)
        x = _lrelu(self.up1(_double(x))) + half
        x = _lrelu(self.up2(_double(x))) + full
        scores: Tensor = self.score(_lrelu(self.mix(x)))
        return scores


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def frozen_scores(discriminator: nn.Module, pictures: Tensor, features: list[Tensor]) -> list[Tensor]:
    """Scores whose gradient reaches the pictures and features but not the discriminator."""
    detached = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    scores: list[Tensor] = torch.func.functional_call(discriminator, detached, (pictures, features))
    return scores
