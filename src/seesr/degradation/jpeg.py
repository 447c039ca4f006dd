"""JPEG compression: the real codec (Pillow), and a differentiable copy of its arithmetic in torch.

Baseline JPEG (ITU-T T.81 with the example tables of annex K, JFIF colour): YCbCr, chroma halved by averaging, 8x8 DCT,
division by quality-scaled tables and rounding, and back with linearly interpolated chroma. Entropy coding is lossless
and plays no part. Rounding passes gradients straight through (Bengio et al. 2013, arXiv 1308.3432). On photos
the copy is 46 dB (quality 10) to 52 dB (quality 100) from libjpeg's result, which itself is 29 to 50 dB from the photo
(measured by `benchmarks/degradation.py`).
"""

import io
import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8),) * 4,
)
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def jpeg_pillow(image: Tensor, quality: int) -> Tensor:
    """Encode and decode image (3, H, W) in [0, 1] with the real codec, 4:2:0 chroma; values are 8-bit / 255."""
    pixels = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()  # (H, W, 3)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    decoded = torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)
    return decoded.to(image) / 255


def jpeg_torch(image: Tensor, quality: int) -> Tensor:
    """The same on image (3, H, W) in [0, 1] in torch, on its device, with gradients; values are 8-bit / 255."""
    height, width = image.shape[-2:]
    padded = F.pad(image[None] * 255, (0, -width % 16, 0, -height % 16), mode="replicate")[0]
    ycc = torch.einsum("dc,chw->dhw", image.new_tensor(_TO_YCBCR), _round(padded.clamp(0, 255)))
    ycc = ycc + ycc.new_tensor([-128.0, 0.0, 0.0]).view(3, 1, 1)  # centred on 0, as the DCT wants it
    luma = _code(_round(ycc[:1]), _table("luma", quality))
    chroma = _code(_round(F.avg_pool2d(_round(ycc[1:]), 2)), _table("chroma", quality))
    chroma = _round(F.interpolate(chroma[None], scale_factor=2, mode="bilinear", align_corners=False)[0])
    rgb = torch.einsum("dc,chw->dhw", image.new_tensor(_TO_RGB), torch.cat([luma + 128, chroma]))
    return _round(rgb.clamp(0, 255))[:, :height, :width] / 255


def _code(planes: Tensor, table: Tensor) -> Tensor:
    """Planes (C, H, W) in [-128, 127] through DCT, quantisation and back; H and W multiples of 8."""
    channels, height, width = planes.shape
    dct, table = _dct().to(planes), table.to(planes)
    blocks = planes.view(channels, height // 8, 8, width // 8, 8).transpose(2, 3)  # (C, H/8, W/8, 8, 8)
    coefficients = _round(dct @ blocks @ dct.T / table) * table
    blocks = _round(dct.T @ coefficients @ dct).clamp(-128, 127)
    return blocks.transpose(2, 3).reshape(channels, height, width)


def _round(values: Tensor) -> Tensor:
    """Round, with a straight-through gradient."""
    return values + (values.round() - values).detach()


@lru_cache(maxsize=256)
def _table(plane: str, quality: int) -> Tensor:
    """Quantisation steps (8, 8) for a quality of 1..100, by the Independent JPEG Group's scaling."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = torch.tensor(_LUMA_TABLE if plane == "luma" else _CHROMA_TABLE)
    return ((base * percent + 50) // 100).clamp(1, 255).float()


@lru_cache(maxsize=1)
def _dct() -> Tensor:
    """Orthonormal DCT-II matrix (8, 8), rows are frequencies."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix
