"""A compact 4x enlarger: plain convolutions at the photo's own size, then pixel shuffle.

One chain of 3x3 convolutions with PReLU; the last makes the 4x4 pixels that stand for each pixel of the photo, and the
photo itself, enlarged by nearest neighbour, is added. This is `SRVGGNetCompact` of Real-ESRGAN (Wang et al. 2021, arXiv
2107.10833), whose tensor names are kept, so its published weights load as they are. With 32 convolutions of 64 channels
it has 1.2 M parameters and a sixteenth of the cost of the 23 RRDBs of `seesr.models.enlarger`.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesr.models.network import keeps_config
from seesr.models.tiled_enlarger import SCALE, TiledEnlarger


class CompactEnlarger(TiledEnlarger):
    """Chain of convolutions: degraded photo in, restored photo of four times the width and height out.

    Args:
        num_convs: convolutions of `channels` between the first and the last.
        channels: width of the chain.
        anchor: see `TiledEnlarger`.
    """

    @keeps_config
    def __init__(self, num_convs: int = 32, channels: int = 64, anchor: int = 0):
        super().__init__()
        self.anchor = anchor
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.PReLU(channels)]
        for _ in range(num_convs):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.PReLU(channels)]
        self.body = nn.Sequential(*layers, nn.Conv2d(channels, 3 * SCALE**2, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge `image`, (B, 3, h, w) in [0, 1], to (B, 3, 4h, 4w), nominally in [0, 1] but not clamped."""
        pixels = F.pixel_shuffle(self.body(image), SCALE)  # (B, 48, h, w) -> (B, 3, 4h, 4w)
        return pixels + F.interpolate(image, scale_factor=SCALE, mode="nearest")


def grow(tensors: Mapping[str, Tensor], num_convs: int) -> dict[str, Tensor]:
    """Weights of a deeper `CompactEnlarger` that computes the same: identity convolutions of slope 1 between its own.

    Args:
        tensors: state dict of a `CompactEnlarger`.
        num_convs: of the deeper one, at most twice as many as `tensors` have.

    Raises:
        ValueError: fewer convolutions than there are, or more than twice as many.
    """
    old = sum(value.ndim == 4 for value in tensors.values()) - 2
    if not old <= num_convs <= 2 * old:
        raise ValueError(f"{old} convolutions grow to {old} to {2 * old}, not {num_convs}")
    channels = len(tensors["body.1.weight"])
    identity = {"weight": torch.zeros_like(tensors["body.2.weight"]), "bias": torch.zeros(channels)}
    nn.init.dirac_(identity["weight"])
    grown: dict[str, Tensor] = {}
    place = 0

    def append(**layer: Tensor) -> None:
        nonlocal place
        grown.update({f"body.{place}.{name}": value.clone() for name, value in layer.items()})
        place += 1

    for number in range(old + 1):
        append(weight=tensors[f"body.{2 * number}.weight"], bias=tensors[f"body.{2 * number}.bias"])
        append(weight=tensors[f"body.{2 * number + 1}.weight"])
        if number and number * (num_convs - old) // old > (number - 1) * (num_convs - old) // old:
            append(**identity)
            append(weight=torch.ones(channels))
    append(weight=tensors[f"body.{2 * old + 2}.weight"], bias=tensors[f"body.{2 * old + 2}.bias"])
    return grown
