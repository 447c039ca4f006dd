"""Areas out of focus in the clean photo, which a restoration must leave soft.

Training crops are chosen for their detail, so a network that sees nothing else learns to expect detail everywhere: it
turns JPEG blocks and noise on a soft background into stone and bark. Here some crops, or parts of them, are put out of
focus before they are degraded, so the target is soft there.
"""

import math

import numpy as np
import torch
from torch import Tensor

from seesr.degradation.kernels import Kernel, blur

SIGMA = (4.0, 9.0)
"""Standard deviation of the disc in pixels of the clean photo: more than what the degradations blur."""
WHOLE = 0.5  # of the samples out of focus, those that are so everywhere
EDGE = 24.0  # pixels across which sharp passes into soft


def defocus(hr: Tensor, seeds: Tensor, share: float) -> Tensor:
    """Put a `share` of the photos out of focus, everywhere or on one side of a line; each sample's seed decides.

    Args:
        hr: (B, 3, H, W) in [0, 1]. seeds: (B,).

    Returns:
        The same shape and range.
    """
    with torch.autocast(hr.device.type, enabled=False):  # as in degradation, pixels are made in full precision
        return torch.stack([_defocus(image, int(seed), share) for image, seed in zip(hr, seeds.cpu())])


def _defocus(image: Tensor, seed: int, share: float) -> Tensor:
    rng = np.random.default_rng((8, seed))
    if rng.random() >= share:
        return image
    sigma = rng.uniform(*SIGMA)
    size = 2 * math.ceil(2 * sigma) + 1
    soft = blur(image, Kernel("disc", size, (sigma, sigma)).weights())
    if rng.random() < WHOLE:
        return soft
    angle = rng.uniform(0, 2 * math.pi)
    y, x = (torch.arange(side, device=image.device) - side * rng.uniform(0.25, 0.75) for side in image.shape[1:])
    distance = x * math.cos(angle) + y[:, None] * math.sin(angle)  # (H, W), from the line
    return torch.lerp(image, soft, (distance / EDGE + 0.5).clamp(0, 1).to(image))
