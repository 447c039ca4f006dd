"""A super-resolution network of another project in the place of the learned enlarger.

What spandrel (github.com/chaiNNer-org/spandrel) makes of a checkpoint knows how the network is called and what sizes it
takes; here it gets the tiles, the memory estimates and the final size of this project's own enlargers.
"""

from typing import Any

import torch
from torch import Tensor

from seesr.models.network import keeps_config
from seesr.models.tiled_enlarger import TiledEnlarger

_TILE = 256  # of what they take nothing is known; attention takes more than convolutions


class ForeignEnlarger(TiledEnlarger):
    """A network of any architecture that takes a colour picture to one 1 to 8 times as large.

    Args:
        found: spandrel's `ImageModelDescriptor`, of three channels in and out.
        name: of the file, for messages.

    scale: how many times larger the network's own result is. can_be_cut: whether it may work in tiles; where it may
        not, a photo is one tile of its own size.
    """

    @keeps_config
    def __init__(self, found: Any, name: str):
        super().__init__()
        self.found, self.name = found, name
        self.network: torch.nn.Module = found.model.eval()
        self.largest_tile = _TILE
        self.scale = int(found.scale)
        self.can_be_cut = found.tiling.name != "INTERNAL"  # where it is discouraged, large photos leave no choice

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge `image`, (B, 3, h, w) in [0, 1], to (B, 3, k*h, k*w) in [0, 1]; k is `scale`."""
        return torch.cat([self.found(one) for one in image.split(1)])  # it takes one picture at a time, and pads it
