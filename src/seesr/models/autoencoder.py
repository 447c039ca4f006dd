"""A small convolutional autoencoder in the place of Stable Diffusion's VAE: 8 times smaller, 16 channels.

Pixels are folded into channels first (pixel-unshuffle), so no convolution runs at full resolution. There is no
normalisation and no attention: what a latent holds depends on a bounded neighbourhood of the picture alone, and a photo
worked on in tiles whose overlap covers that neighbourhood gives the same result as in one piece.
"""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn

from seesr.models.network import Network, keeps_config

FOLD = 4  # pixels a side that are folded into channels before the first convolution
FACTOR = 8  # pixels a side of one latent

_NO_VARIANCE = -30.0  # logarithm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a leaky ReLU, added to their input; they add nothing at the start."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, h, w) -> same
        x = x + self.conv2(F.leaky_relu(self.conv1(x), 0.2))
        return x


class Autoencoder(Network):
    """Picture ⇄ latents, with the calls of diffusers' `AutoencoderKL`; the posterior has no variance.

    Args:
        latent_channels: of the latents.
        channels: width at a quarter and at an eighth of the resolution.
        encoder_blocks: residual blocks at a quarter and at an eighth of the resolution.
        decoder_blocks: the same of the decoder.
        scaling_factor: brings latents to unit variance, as the diffusion part expects them.
    """

    @keeps_config
    def __init__(
        self,
        latent_channels: int = 16,
        channels: tuple[int, int] = (96, 160),
        encoder_blocks: tuple[int, int] = (2, 3),
        decoder_blocks: tuple[int, int] = (3, 4),
        scaling_factor: float = 1.0,
    ):
        super().__init__()
        fine, coarse = channels
        pixels = 3 * FOLD * FOLD
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(FOLD),
            nn.Conv2d(pixels, fine, 3, padding=1),
            *(ResidualBlock(fine) for _ in range(encoder_blocks[0])),
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1),
            *(ResidualBlock(coarse) for _ in range(encoder_blocks[1])),
            nn.Conv2d(coarse, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            *(ResidualBlock(coarse) for _ in range(decoder_blocks[1])),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            *(ResidualBlock(fine) for _ in range(decoder_blocks[0])),
            nn.Conv2d(fine, pixels, 3, padding=1),
            nn.PixelShuffle(FOLD),
        )

    def forward(self, pixels: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """There and back: pictures (B, 3, H, W) as for `decode`, and their latents.

        Args:
            noise: standard deviation of what is added to the latents before they are decoded.
        """
        latents = self.encoder(pixels)
        return self.decoder(latents + noise * torch.randn_like(latents)), latents

    def encode(self, pixels: Tensor) -> AutoencoderKLOutput:
        """(B, 3, H, W) in [-1, 1], H and W multiples of 8 -> distribution of latents (B, c, H/8, W/8)."""
        mean = self.encoder(pixels)
        moments = torch.cat((mean, torch.full_like(mean, _NO_VARIANCE)), 1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments, deterministic=True))

    def decode(self, latents: Tensor) -> DecoderOutput:
        """(B, c, h, w) -> (B, 3, 8h, 8w), nominally in [-1, 1] but not clamped."""
        return DecoderOutput(sample=self.decoder(latents))
