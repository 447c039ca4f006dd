"""The deep part of the UNet computed at some steps, and its features used again at those that follow.

From one step to the next the features far inside a UNet change little (DeepCache, Ma et al., arXiv 2312.00858), and so
do the ControlNet's. Where they are used again only the outermost blocks run, those at full resolution: they see the
step's latents, time and prompt. diffusers' forward stays as it is; the blocks inside answer with what is remembered.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seesr.errors import SeesrError
from seesr.restoration.step_cache import Allowance, replaced_forward


@dataclass(frozen=True)
class Remembered:
    """What the deep part said at a step.

    deep: (B, C, h, w), what the last up block gets from the ones before. down, mid: the ControlNet's residuals; where
    only deep blocks read them no more than the shape is kept.
    """

    deep: Tensor
    down: tuple[Tensor, ...]
    mid: Tensor


class DeepFeatures:
    """Within `deep_features`: what the deep blocks of a UNet answer.

    given: their answer; None: they compute it. found: what they computed last.
    """

    def __init__(self, unet: Any) -> None:
        self.read = len(unet.up_blocks[-1].resnets)  # residuals that the last up block takes
        self.given: Tensor | None = None
        self.found: Tensor | None = None

    def remember(self, down: tuple[Tensor, ...], mid: Tensor, allowance: Allowance | None) -> Remembered | None:
        """What the last step said, with the ControlNet's residuals of it; None where `allowance` has no room.

        allowance: None: there is room already.
        """
        assert self.found is not None
        kept = (self.found, *down[: self.read])
        if allowance is not None and not allowance.take_all(kept):
            return None
        rest = tuple(_shape_of(residual) for residual in down[self.read :])
        return Remembered(self.found, (*down[: self.read], *rest), _shape_of(mid))


@contextmanager
def deep_features(unet: Any) -> Iterator[DeepFeatures]:
    """Within the block all of `unet` but its first down and its last up block can answer from memory.

    Raises:
        SeesrError: it has no block besides these.
    """
    if len(unet.up_blocks) < 2:
        raise SeesrError("this model's UNet has no deep part; set `reuse` to 1")
    features = DeepFeatures(unet)
    residuals: dict[int, int] = {}  # of a down block, by its number

    def down(number: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*args: Any, **kwargs: Any) -> Any:
            if features.given is None:
                hidden, found = forward(*args, **kwargs)
                residuals[number] = len(found)
                return hidden, found
            nothing = features.given.new_zeros(())  # to which the ControlNet's residuals are added
            return nothing, (nothing,) * residuals[number]

        return answer

    def middle(forward: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*args: Any, **kwargs: Any) -> Any:
            return forward(*args, **kwargs) if features.given is None else features.given.new_zeros(())

        return answer

    def up(is_last: bool, forward: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*args: Any, **kwargs: Any) -> Any:
            if features.given is not None:
                return features.given
            found = forward(*args, **kwargs)
            if is_last:
                features.found = found
            return found

        return answer

    with ExitStack() as stack:
        for number, block in enumerate(unet.down_blocks[1:]):
            stack.enter_context(replaced_forward(block, down(number, block.forward)))
        stack.enter_context(replaced_forward(unet.mid_block, middle(unet.mid_block.forward)))
        for block in unet.up_blocks[:-1]:
            is_last = block is unet.up_blocks[-2]
            stack.enter_context(replaced_forward(block, up(is_last, block.forward)))
        yield features


def _shape_of(tensor: Tensor) -> Tensor:
    """Zeros of the same shape, which take no memory."""
    return tensor.new_zeros(()).expand(tensor.shape)
