"""A learned 4x enlarger in place of the paper's bicubic one: ESRGAN's generator (Wang et al. 2018, arXiv 1809.00219).

A trunk of residual-in-residual dense blocks (RRDB) works at the photo's own size; two nearest-neighbour doublings, each
with a convolution, bring it to 4x. Tensor names are those of Real-ESRGAN's `RRDBNet` (Wang et al. 2021, arXiv
2107.10833), so its published weights load as they are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesr.models.network import keeps_config
from seesr.models.tiled_enlarger import OVERLAP, SCALE, TiledEnlarger, anchored, interpolate_weights

__all__ = ["OVERLAP", "RRDB", "SCALE", "DenseBlock", "Enlarger", "anchored", "interpolate_weights"]

FEW_BLOCKS, FEW_OVERLAP = 6, 48
"""So few blocks look less far: of four, a pixel 12 from a border that the photo does not have is off by .3 of 255."""
HEAD_REACH = 2
HEAD_PIXELS = 1 << 13
"""After its trunk, `Enlarger` reads so far beyond a pixel, and works on so many pixels of the photo at once."""


class DenseBlock(nn.Module):
    """Five convolutions, each reading all that came before it (ESRGAN §3.1, figure 4)."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(channels + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(channels + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(channels + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, h, w) -> same
        features = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = torch.cat((features, _lrelu(conv(features))), dim=1)  # (B, channels + k*growth, h, w)
        x = x + 0.2 * self.conv5(features)
        return x


class RRDB(nn.Module):
    """Three dense blocks inside one more scaled residual (ESRGAN §3.1)."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.rdb1 = DenseBlock(channels, growth)
        self.rdb2 = DenseBlock(channels, growth)
        self.rdb3 = DenseBlock(channels, growth)

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, h, w) -> same
        x = x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))
        return x


class Enlarger(TiledEnlarger):
    """RRDB network: degraded photo in, restored photo of four times the width and height out.

    Args:
        num_blocks: RRDBs in the trunk; Real-ESRGAN x4plus has 23. Cost at low resolution is proportional to it.
        channels: width of the trunk.
        growth: channels that each dense convolution adds.
        anchor: side, in pixels of the photo, of the squares whose mean colour `enlarge` keeps (see `anchored`); 0: it
            shows what the network says.
    """

    @keeps_config
    def __init__(self, num_blocks: int = 23, channels: int = 64, growth: int = 32, anchor: int = 0):
        super().__init__()
        self.anchor = anchor
        self.overlap = FEW_OVERLAP if num_blocks <= FEW_BLOCKS else OVERLAP
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(num_blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge `image`, (B, 3, h, w) in [0, 1], to (B, 3, 4h, 4w), nominally in [0, 1] but not clamped.

        Without gradients what comes after the trunk is done in strips: it holds five times what the trunk does.
        """
        x: Tensor = self.conv_first(image)  # (B, channels, h, w)
        x = x + self.conv_body(self.body(x))
        height, rows = x.shape[-2], max(1, HEAD_PIXELS // x.shape[-1])
        if torch.is_grad_enabled() or rows >= height:
            return self._head(x)
        result = image.new_empty(*image.shape[:-2], SCALE * height, SCALE * image.shape[-1])
        for top in range(0, height, rows):
            first, end = max(0, top - HEAD_REACH), min(height, top + rows)
            strip = self._head(x[..., first : end + HEAD_REACH, :])
            result[..., SCALE * top : SCALE * end, :] = strip[..., SCALE * (top - first) : SCALE * (end - first), :]
        return result

    def paces(self) -> list[nn.Module]:
        """The blocks of the trunk."""
        return list(self.body)

    def _head(self, x: Tensor) -> Tensor:  # (B, channels, h, w) -> (B, 3, 4h, 4w)
        x = _lrelu(self.conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")))  # (B, channels, 2h, 2w)
        x = _lrelu(self.conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")))  # (B, channels, 4h, 4w)
        x = self.conv_last(_lrelu(self.conv_hr(x)))
        return x


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)
