"""A picture something like a photo, made by formula."""

import torch
from torch import Tensor


def scene(height: int = 96, width: int = 128) -> Tensor:
    """(3, H, W): coloured waves of many frequencies with two hard edges, something like a photo."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    red = 0.5 + 0.4 * torch.sin(40 * x * x + 5 * y)
    green = 0.5 + 0.3 * torch.cos(30 * y * x) + 0.1 * torch.sin(90 * x)
    blue = 0.3 + 0.4 * y + 0.2 * (x > 0.5)
    image = torch.stack([red, green, blue])
    image[:, height // 3 : height // 2, width // 4 : width // 2] = 0.9
    return image.clamp(0, 1)
