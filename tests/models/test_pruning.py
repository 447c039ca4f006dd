"""An enlarger with blocks left out."""

import pytest
import torch

from seesr.models.enlarger import Enlarger
from seesr.models.pruning import pruned


def test_the_blocks_left_are_those_asked_for_in_their_order() -> None:
    torch.manual_seed(0)
    network = Enlarger(num_blocks=5, channels=8, growth=4, anchor=4).eval()
    smaller = pruned(network, [3, 0])
    photo = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        x = network.conv_first(photo)
        trunk = network.body[3](network.body[0](x))
        assert torch.equal(smaller(photo), network._head(x + network.conv_body(trunk)))
    assert (smaller.anchor, len(smaller.body)) == (0, 2)


@pytest.mark.parametrize("keep", [[], [0, 0], [5], [-1, 2]])
def test_blocks_that_are_not_there(keep: list[int]) -> None:
    with pytest.raises(ValueError, match="from 0 to 4"):
        pruned(Enlarger(num_blocks=5, channels=8, growth=4), keep)
