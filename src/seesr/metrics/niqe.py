"""NIQE, a metric without reference (Mittal, Soundararajan, Bovik, "Making a completely blind image quality analyzer",
IEEE SPL 2013).

Natural pictures, locally normalised, follow generalised Gaussian statistics. In blocks of 96x96, at two scales, the
parameters of such distributions are fitted; NIQE is the distance of their mean and covariance over blocks from those of
pristine photos. The pristine model is the authors', taken as a data file from the PyPI package `basicsr`. The picture
enters as full-range luma rounded to integers, without a crop, as in IQA-PyTorch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.errors import SeesrError

_PRISTINE = (
    "basicsr==1.4.2",
    "basicsr-1.4.2/basicsr/metrics/niqe_pris_params.npz",
    "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
)
_BLOCK = 96
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # along the row, the column and both diagonals


class Niqe(nn.Module):
    """NIQE of pictures; larger is worse, good photos have about 3 to 5.

    Args (forward): `x`, RGB (B, 3, H, W) in [0, 1]. Returns (B,) in float64.

    Raises:
        SeesrError: the pristine model could not be fetched; (forward) a picture holds fewer than two blocks of 96x96
            that are not flat.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    window: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        with np.load(fetch_pypi_file(*_PRISTINE), allow_pickle=False) as pristine:
            self.register_buffer("mean", torch.tensor(pristine["mu_pris_param"]).flatten())  # (36,)
            self.register_buffer("covariance", torch.tensor(pristine["cov_pris_param"]))  # (36, 36)
            self.register_buffer("window", torch.tensor(pristine["gaussian_window"]))  # (7, 7), sigma 7/6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64, device=x.device).view(1, 3, 1, 1)
        luma = (255 * (x.double() * weights).sum(1)).round()  # (B, H, W)
        return torch.stack([self._distance(image) for image in luma])

    def _distance(self, luma: torch.Tensor) -> torch.Tensor:
        """Eq. 10 of the paper for one picture (H, W)."""
        height, width = (size // _BLOCK * _BLOCK for size in luma.shape)
        scale1 = luma[:height, :width]
        statistics = torch.cat(
            [self._block_statistics(scale1, _BLOCK), self._block_statistics(_halve(scale1), _BLOCK // 2)], dim=1
        )  # (blocks, 36)
        complete = statistics[~statistics.isnan().any(1)]
        if len(complete) < 2:
            raise SeesrError(f"NIQE needs at least two blocks of {_BLOCK}x{_BLOCK} pixels that are not flat")
        offset = statistics.nanmean(0) - self.mean
        pooled = (self.covariance + torch.cov(complete.T)) / 2
        inverse: torch.Tensor = torch.linalg.pinv(pooled, hermitian=True)
        return (offset @ inverse @ offset).sqrt()

    def _block_statistics(self, luma: torch.Tensor, size: int) -> torch.Tensor:
        """18 parameters per block of a picture whose sides are multiples of `size`: (H, W) -> (blocks, 18)."""
        mean = self._local_mean(luma)
        deviation = (self._local_mean(luma**2) - mean**2).abs().sqrt()
        normalised = (luma - mean) / (deviation + 1)  # Eq. 1
        blocks = normalised.unfold(0, size, size).unfold(1, size, size).reshape(-1, size, size)
        alpha, left, right = _fit_asymmetric_gaussian(blocks)
        columns = [alpha, (left + right) / 2]
        for shift in _NEIGHBOURS:  # products of neighbours, Eq. 8
            alpha, left, right = _fit_asymmetric_gaussian(blocks * blocks.roll(shift, dims=(1, 2)))
            columns += [alpha, (right - left) * _gamma(2 / alpha) / _gamma(1 / alpha), left, right]
        return torch.stack(columns, dim=1)

    def _local_mean(self, x: torch.Tensor) -> torch.Tensor:
        """Gaussian-weighted mean around each pixel, 7x7, the border repeated: (H, W) -> (H, W)."""
        padded = F.pad(x[None, None], (3, 3, 3, 3), mode="replicate")
        return F.conv2d(padded, self.window[None, None])[0, 0]


def _fit_asymmetric_gaussian(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shape, left and right scale of an asymmetric generalised Gaussian, by moments: (N, h, w) -> three of (N,).

    NaN where a block has no value on one side of zero.
    """
    values = blocks.flatten(1)
    left, right = (
        ((values**2 * side).sum(1) / side.sum(1)).sqrt() for side in ((values < 0).double(), (values > 0).double())
    )
    ratio = left / right
    moments = values.abs().mean(1) ** 2 / (values**2).mean(1)
    target = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes = torch.arange(200, 10001, dtype=torch.float64, device=blocks.device) / 1000  # .2 .. 10 in steps of .001
    curve = _gamma(2 / shapes) ** 2 / (_gamma(1 / shapes) * _gamma(3 / shapes))
    alpha = shapes[(curve - target[:, None]).abs().argmin(1)]
    alpha = torch.where(target.isnan(), target, alpha)
    spread = (_gamma(1 / alpha) / _gamma(3 / alpha)).sqrt()
    return alpha, left * spread, right * spread


def _gamma(x: torch.Tensor) -> torch.Tensor:
    return torch.lgamma(x).exp()


def _halve(x: torch.Tensor) -> torch.Tensor:
    """Half the size by Matlab's antialiased bicubic (`imresize`), border mirrored: (H, W) -> (H/2, W/2), even sides."""
    distance = torch.tensor([1.75, 1.25, 0.75, 0.25, 0.25, 0.75, 1.25, 1.75], dtype=x.dtype, device=x.device)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, far)
    taps = taps / taps.sum()
    for _ in range(2):  # rows, then columns
        mirrored = torch.cat([x[:3].flip(0), x, x[-3:].flip(0)])
        x = (mirrored.unfold(0, 8, 2) @ taps).T
    return x
