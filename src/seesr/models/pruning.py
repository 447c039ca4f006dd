"""An enlarger of fewer blocks out of a trained one: where the training of a quicker one starts.

A block of an RRDB network adds a fifth of what it computes, so the picture survives when most blocks are left out: it
is right in the large and wrong in the small, which some thousand steps mend.
"""

from collections.abc import Sequence

from seesr.models.enlarger import Enlarger


def pruned(network: Enlarger, keep: Sequence[int]) -> Enlarger:
    """`network`, at the detail it stands at, with only the blocks `keep` of its trunk, counted from 0, in their order.

    It has one end, and its colours are what it says (no `anchor`).

    Raises:
        ValueError: a block that there is not, or one twice.
    """
    config, blocks = network.config, sorted(set(keep))
    if len(blocks) != len(keep) or not blocks or not 0 <= blocks[0] <= blocks[-1] < config.num_blocks:
        raise ValueError(f"keep is {list(keep)}; give numbers from 0 to {config.num_blocks - 1}, each once")
    smaller = Enlarger(num_blocks=len(blocks), channels=config.channels, growth=config.growth)
    places = {str(number): str(place) for place, number in enumerate(blocks)}
    weights = {}
    for name, tensor in network.state_dict().items():
        part, _, rest = name.partition(".")
        number, _, inside = rest.partition(".")
        if part != "body":
            weights[name] = tensor
        elif number in places:
            weights[f"body.{places[number]}.{inside}"] = tensor
    smaller.load_state_dict(weights)
    return smaller.eval()
