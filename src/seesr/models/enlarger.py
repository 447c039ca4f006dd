"""A learned 4x enlarger in place of the paper's bicubic one: ESRGAN's generator (Wang et al. 2018, arXiv 1809.00219).

A trunk of residual-in-residual dense blocks (RRDB) works at the photo's own size; two nearest-neighbour doublings, each
with a convolution, bring it to 4x. Tensor names are those of Real-ESRGAN's `RRDBNet` (Wang et al. 2021, arXiv
2107.10833), so its published weights load as they are. Large photos are enlarged in tiles, with bounded memory.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

SCALE = 4


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
        return x + 0.2 * self.conv5(features)


class RRDB(nn.Module):
    """Three dense blocks inside one more scaled residual (ESRGAN §3.1)."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.rdb1 = DenseBlock(channels, growth)
        self.rdb2 = DenseBlock(channels, growth)
        self.rdb3 = DenseBlock(channels, growth)

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, h, w) -> same
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class Enlarger(ModelMixin, ConfigMixin):
    """RRDB network: degraded photo in, restored photo of four times the width and height out.

    Args:
        num_blocks: RRDBs in the trunk; Real-ESRGAN x4plus has 23. Cost at low resolution is proportional to it.
        channels: width of the trunk.
        growth: channels that each dense convolution adds.
    """

    @register_to_config
    def __init__(self, num_blocks: int = 23, channels: int = 64, growth: int = 32):
        super().__init__()
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(num_blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge `image`, (B, 3, h, w) in [0, 1], to (B, 3, 4h, 4w), nominally in [0, 1] but not clamped."""
        x = self.conv_first(image)  # (B, channels, h, w)
        x = x + self.conv_body(self.body(x))
        x = _lrelu(self.conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")))  # (B, channels, 2h, 2w)
        x = _lrelu(self.conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")))  # (B, channels, 4h, 4w)
        return self.conv_last(_lrelu(self.conv_hr(x)))

    @torch.no_grad()
    def enlarge(
        self,
        image: Tensor,
        tile: int = 192,
        overlap: int = 32,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """The photo enlarged 4x and clamped to [0, 1], in overlapping tiles where it is larger than `tile`.

        Args:
            image: (B, 3, h, w) in [0, 1], of any size, on the model's device and of its dtype.
            tile: side of a tile in pixels of `image`; memory is bounded by it whatever the size of the photo.
            overlap: pixels that neighbouring tiles share; the blend is linear across the middle half of them, so that
                no pixel is taken from nearer than `overlap / 4` to a border that the photo does not have.
            progress: called with the number of tiles done and of all.

        Returns:
            (B, 3, 4h, 4w) in [0, 1].
        """
        height, width = image.shape[-2:]
        if height <= tile and width <= tile:
            result = self.forward(image).clamp_(0, 1)
            progress(1, 1)
            return result
        result = image.new_zeros(*image.shape[:-2], SCALE * height, SCALE * width)
        done = 0
        rows, columns = _tile_starts(height, tile, overlap), _tile_starts(width, tile, overlap)
        for top, weight_y in zip(rows, _tile_weights(rows, height, tile, overlap, image)):
            for left, weight_x in zip(columns, _tile_weights(columns, width, tile, overlap, image)):
                enlarged = self.forward(image[..., top : top + tile, left : left + tile]).clamp_(0, 1)
                enlarged *= weight_y[:, None] * weight_x  # (B, 3, 4*tile, 4*tile)
                y, x = SCALE * top, SCALE * left
                result[..., y : y + enlarged.shape[-2], x : x + enlarged.shape[-1]] += enlarged
                done += 1
                progress(done, len(rows) * len(columns))
        return result


def interpolate_weights(a: Mapping[str, Tensor], b: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    """(1 - weight)*a + weight*b, tensor by tensor: network interpolation between two fine-tunings (ESRGAN §3.4).

    Raises:
        ValueError: the two do not hold the same tensors.
    """
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        raise ValueError("only weights of the same architecture can be interpolated")
    return {name: torch.lerp(a[name].float(), b[name].float(), weight).to(a[name].dtype) for name in a}


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def _tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """First pixel of every tile along one side, evenly spread; neighbours share at least `overlap` pixels."""
    if size <= tile:
        return [0]
    count = math.ceil((size - overlap) / (tile - overlap))
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def _tile_weights(starts: list[int], size: int, tile: int, overlap: int, like: Tensor) -> list[Tensor]:
    """Blending weights of each tile along one side, (4*tile,), which add up to 1 at every pixel of the result.

    They are 0 in the outer quarter of the overlap and 1 from three quarters on, except at the borders of the photo.
    """
    tile = min(tile, size)
    position = torch.arange(SCALE * tile, device=like.device) + 0.5
    up = ((position / SCALE - overlap / 4) / (overlap / 2)).clamp(0, 1)
    total = torch.zeros(SCALE * size, device=like.device)
    weights = []
    for start in starts:
        weight = torch.ones_like(position)
        if start > 0:
            weight *= up
        if start + tile < size:
            weight *= up.flip(0)
        weights.append(weight)
        total[SCALE * start : SCALE * (start + tile)] += weight
    return [(w / total[SCALE * s : SCALE * (s + tile)]).to(like.dtype) for w, s in zip(weights, starts)]
