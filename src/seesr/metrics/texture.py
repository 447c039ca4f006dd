"""Two figures of local contrast that say what LPIPS and NIQE do not: texture where nothing is, detail where it is.

Both compare the standard deviation of luma in windows of 7x7 pixels with the clean picture's. *False texture* is by how
many levels of 255 it is larger, on average, where the clean picture is flat; *detail kept* is the mean ratio of the two
where the clean picture has detail. A picture as smooth or as rich as the clean one has 0 and 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FLAT = 1.5
"""Local deviation of the clean picture, in levels of 255, below which it is flat."""
DETAILED = 8.0
"""And above which it has detail."""
WINDOW = 7
SHARE = 0.02
"""Of a picture's windows, below which it has no figure: the mean of a few windows at edges says nothing."""


def local_deviation(pictures: Tensor) -> Tensor:
    """Standard deviation of luma (BT.601, full range) in 7x7 windows.

    Args:
        pictures: (B, 3, H, W) in [0, 1], sides of at least 7.

    Returns:
        (B, 1, H - 6, W - 6) in levels of 255, at least 0.1: so the gradient stays finite in flat windows.
    """
    luma = 255 * (pictures.float() * pictures.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    luma = luma - luma.mean((2, 3), keepdim=True)  # small numbers: the difference of squares keeps its digits
    mean = F.avg_pool2d(luma, WINDOW, stride=1)
    variance = F.avg_pool2d(luma.square(), WINDOW, stride=1) - mean.square()
    return (variance.clamp(min=0) + 1e-2).sqrt()


def false_texture(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean excess of local deviation where the clean picture is flat, in levels of 255; NaN where hardly anything is.

    Args:
        restored, clean: (B, 3, H, W) in [0, 1].

    Returns:
        (B,); 0 is best, below 0 the picture is flatter than the clean one.
    """
    spread = local_deviation(clean)
    return _mean(local_deviation(restored) - spread, spread < FLAT)


def detail_kept(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean ratio of local deviations where the clean picture has detail; NaN where it has hardly any.

    Args:
        restored, clean: (B, 3, H, W) in [0, 1].

    Returns:
        (B,); 1 is best.
    """
    spread = local_deviation(clean)
    return _mean(local_deviation(restored) / spread, spread > DETAILED)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean over the windows of each picture that `where` names, NaN if they are fewer than `SHARE`."""
    mean = torch.where(where, values, 0).sum((1, 2, 3)) / where.sum((1, 2, 3))
    return torch.where(where.float().mean((1, 2, 3)) >= SHARE, mean, torch.nan)
