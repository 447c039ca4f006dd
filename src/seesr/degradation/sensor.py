"""The noise of a phone's camera: it arises on the sensor and is shaped by all the processing that follows.

The photo is taken back to the sensor's linear light (tone curve, gamma, colour matrix and white balance undone, as in
Brooks et al. 2019, arXiv 1811.11127, section 3), sampled through a Bayer pattern, given shot and read noise of variance
`shot * x + read`, and developed again: Malvar-He-Cutler demosaicing (ICASSP 2004), white balance, colour matrix, gamma
and tone curve, smoothing of chroma and a little of luma, sharpening. So the noise is correlated between neighbours and
colours, coloured where chroma was not smoothed, and stronger in the dark.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_KNEE = 0.9  # of linear light; above it the gains are undone less and less, so that white stays white


@dataclass(frozen=True)
class SensorPlan:
    """What was drawn for one picture.

    shot: variance for each unit of linear light in [0, 1]; read: variance in the dark. red, blue: gains of the white
    balance. saturation: of the colour matrix, 0 for none. tone: share of the S-shaped tone curve. chroma, luma: sigma
    of their smoothing in pixels. sharpening: weight of the unsharp mask of `radius` pixels sigma.
    """

    shot: float
    read: float
    red: float
    blue: float
    saturation: float
    tone: float
    chroma: float
    luma: float
    sharpening: float
    radius: float
    seed: int


def add_sensor_noise(image: Tensor, plan: SensorPlan) -> Tensor:
    """Copy of image (3, H, W) in [0, 1] as a phone would have taken it, clamped to [0, 1]."""
    height, width = image.shape[-2:]
    padded = F.pad(image[None], (2, 2 + width % 2, 2, 2 + height % 2), mode="replicate")[0]  # Bayer needs even sides
    raw = mosaic(to_raw(padded, plan))  # (1, H', W')
    generator = torch.Generator().manual_seed(plan.seed)
    noise = torch.randn(raw.shape, generator=generator).to(raw)
    raw = (raw + (plan.shot * raw + plan.read).sqrt() * noise).clamp(0, 1)
    return finish(to_srgb(demosaic(raw), plan), plan)[:, 2 : 2 + height, 2 : 2 + width]


def to_raw(image: Tensor, plan: SensorPlan) -> Tensor:
    """sRGB (3, H, W) in [0, 1] -> the sensor's linear light, same shape and range."""
    x = _tone_undone(image.clamp(0, 1), plan.tone)
    x = torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    x = torch.einsum("dc,chw->dhw", torch.linalg.inv(_color_matrix(plan, x)), x).clamp(0, 1)
    bright = ((x.mean(0, keepdim=True) - _KNEE).clamp(min=0) / (1 - _KNEE)) ** 2
    gains = 1 / _gains(plan, x)
    return x * torch.maximum(gains, torch.lerp(gains.expand_as(x), torch.ones_like(x), bright))


def to_srgb(raw: Tensor, plan: SensorPlan) -> Tensor:
    """The sensor's linear light (3, H, W) -> sRGB in [0, 1]."""
    x = (raw * _gains(plan, raw)).clamp(0, 1)
    x = torch.einsum("dc,chw->dhw", _color_matrix(plan, x), x).clamp(0, 1)
    x = torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp(min=1e-8) ** (1 / 2.4) - 0.055)
    return _tone(x, plan.tone)


def finish(image: Tensor, plan: SensorPlan) -> Tensor:
    """Chroma and luma smoothed, luma sharpened; (3, H, W) in [0, 1] stays so."""
    luma = (image * image.new_tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True)  # (1, H, W)
    chroma = _smooth(image - luma, plan.chroma)
    luma = _smooth(luma, plan.luma)
    luma = luma + plan.sharpening * (luma - _smooth(luma, plan.radius))
    return (luma + chroma).clamp(0, 1)


def mosaic(image: Tensor) -> Tensor:
    """(3, H, W), sides even -> (1, H, W): red, green / green, blue of each 2x2 pixels."""
    raw = image[1:2].clone()
    raw[0, 0::2, 0::2] = image[0, 0::2, 0::2]
    raw[0, 1::2, 1::2] = image[2, 1::2, 1::2]
    return raw


def demosaic(raw: Tensor) -> Tensor:
    """(1, H, W) of `mosaic` -> (3, H, W): bilinear, corrected by the gradient of the colour that is there."""
    kernels = raw.new_tensor(_MALVAR)[:, None] / 16  # (4, 1, 5, 5)
    cross, along, across, corner = F.conv2d(F.pad(raw[None], (2, 2, 2, 2), mode="reflect"), kernels)[0]
    image = raw.repeat(3, 1, 1)
    image[1, 0::2, 0::2], image[1, 1::2, 1::2] = cross[0::2, 0::2], cross[1::2, 1::2]
    # red lies beside green in even rows, above and below it in odd ones; blue the other way round
    image[0, 0::2, 1::2], image[0, 1::2, 0::2] = along[0::2, 1::2], across[1::2, 0::2]
    image[2, 0::2, 1::2], image[2, 1::2, 0::2] = across[0::2, 1::2], along[1::2, 0::2]
    image[0, 1::2, 1::2], image[2, 0::2, 0::2] = corner[1::2, 1::2], corner[0::2, 0::2]
    return image.clamp(0, 1)


_ACROSS = ((0, 0, -2, 0, 0), (0, -2, 8, -2, 0), (1, 0, 10, 0, 1), (0, -2, 8, -2, 0), (0, 0, -2, 0, 0))
_MALVAR = (
    ((0, 0, -2, 0, 0), (0, 0, 4, 0, 0), (-2, 4, 8, 4, -2), (0, 0, 4, 0, 0), (0, 0, -2, 0, 0)),  # green at red or blue
    tuple(zip(*_ACROSS)),  # a colour at green between two of it in the row
    _ACROSS,  # in the column
    ((0, 0, -3, 0, 0), (0, 4, 0, 4, 0), (-3, 0, 12, 0, -3), (0, 4, 0, 4, 0), (0, 0, -3, 0, 0)),  # red at blue and back
)


def _gains(plan: SensorPlan, like: Tensor) -> Tensor:
    return like.new_tensor([plan.red, 1.0, plan.blue]).view(3, 1, 1)


def _color_matrix(plan: SensorPlan, like: Tensor) -> Tensor:
    """Grey stays grey, colours are moved away from it: the matrix that a sensor's overlapping colours need."""
    eye = torch.eye(3, device=like.device, dtype=like.dtype)
    return eye + plan.saturation * (eye - 1 / 3)


def _tone(x: Tensor, share: float) -> Tensor:
    return torch.lerp(x, 3 * x**2 - 2 * x**3, share)


def _tone_undone(y: Tensor, share: float) -> Tensor:
    """The x of which `_tone` makes y, by Newton's method from a guess that is right for a share of 0 and of 1."""
    x = torch.lerp(y, 0.5 - torch.sin(torch.asin(1 - 2 * y) / 3), share)
    for _ in range(2):
        slope = (1 - share) + share * 6 * x * (1 - x)
        x = (x - (_tone(x, share) - y) / slope.clamp(min=0.2)).clamp(0, 1)
    return x


def _smooth(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (C, H, W); none below a tenth of a pixel."""
    if sigma < 0.1:
        return planes
    radius = max(1, round(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(planes.shape[0], 1, -1)
    x = F.pad(planes[None], (radius, radius, radius, radius), mode="replicate")
    x = F.conv2d(x, kernel[:, :, None, :], groups=planes.shape[0])
    return F.conv2d(x, kernel[:, :, :, None], groups=planes.shape[0])[0]
