"""PSNR and SSIM (Wang et al., TIP 2004) in the variant that the field's tables print.

Both compare the studio-range Y of BT.601, 16 to 235, of 8-bit pictures against a peak of 255 and crop no border. SSIM
rounds Y to integers and clips the contrast-structure term at zero, as IQA-PyTorch does and BasicSR does not: the two
differ by up to .004.
"""

import math

import torch
import torch.nn.functional as F

_PEAK = 255.0


def psnr(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of Y, in dB.

    Args:
        x, y: RGB (B, 3, H, W) in [0, 1].

    Returns:
        (B,) in float64. Equal pictures get 128.1 dB, not infinity, so that means over pictures stay finite.
    """
    mse = (luma(x) - luma(y)).square().mean((1, 2, 3))
    return 10 * torch.log10(_PEAK**2 / (mse + 1e-8))


def ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Structural similarity of rounded Y: Gaussian window of 11x11, sigma 1.5, at positions where all of it fits.

    Args:
        x, y: RGB (B, 3, H, W) in [0, 1], H and W at least 11.

    Returns:
        (B,) in float64, at most 1.
    """
    a, b = luma(x).round(), luma(y).round()
    moments = _gaussian_mean(torch.cat([a, b, a * a, b * b, a * b], dim=1))
    mean_a, mean_b, square_a, square_b, product = moments.unbind(1)  # (B, H - 10, W - 10) each
    variance_a, variance_b, covariance = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast_structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * contrast_structure.clamp_min(0)).mean((1, 2))


def luma(x: torch.Tensor) -> torch.Tensor:
    """Studio-range Y of BT.601 from RGB: (B, 3, H, W) in [0, 1] -> (B, 1, H, W) in [16, 235], float64, not rounded."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=x.device).view(1, 3, 1, 1)
    return 16 + (x.double() * weights).sum(1, keepdim=True)


def _gaussian_mean(x: torch.Tensor) -> torch.Tensor:
    """Gaussian-weighted mean around each position: (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    window = torch.tensor([math.exp(-(i**2) / (2 * 1.5**2)) for i in range(-5, 6)], dtype=x.dtype, device=x.device)
    window = window / window.sum()
    channels = x.shape[1]
    rows = F.conv2d(x, window.view(1, 1, 11, 1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(rows, window.view(1, 1, 1, 11).repeat(channels, 1, 1, 1), groups=channels)
