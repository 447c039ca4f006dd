"""What stays the same over the steps of a sampling, computed once.

The keys and values that the cross-attentions make of the prompt and of the representation embedding, and what the
ControlNet makes of its condition, do not depend on the latents. They are remembered as far as an allowance of bytes
goes; what is beyond it is computed at every step.

While it remembers, a network's modules are changed, so one sampling at a time has it: threads wait for each other.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from seesr.tiling.vae import fetch_offloaded

_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_new_lock = RLock()


def _lock_of(network: nn.Module) -> Any:
    with _new_lock:
        return _locks.setdefault(network, RLock())


class Allowance:
    """Bytes that may be spent on remembering."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def take(self, tensor: Tensor) -> bool:
        """Whether there is room for `tensor`; if so it is taken."""
        if tensor.nbytes > self.left:
            return False
        self.left -= tensor.nbytes
        return True

    def take_all(self, tensors: Iterable[Tensor]) -> bool:
        """Whether there is room for all of `tensors`; if so they are taken."""
        needed = sum(tensor.nbytes for tensor in tensors)
        if needed > self.left:
            return False
        self.left -= needed
        return True


@contextmanager
def remembered_contexts(networks: list[nn.Module], allowance: Allowance) -> Iterator[Callable[[Tensor], Tensor]]:
    """Within the block the networks' cross-attentions remember the keys and values of contexts, (B, n, d).

    Gives a function to tell them of a context that will come again, and which returns it. A context is known by its
    identity, not by its values: pass that very tensor at every step.
    """
    contexts: dict[int, Tensor] = {}  # held, so that no other tensor gets their identity

    def remembering(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        known: dict[int, Tensor] = {}

        def project(context: Tensor) -> Tensor:
            key = id(context)
            if key in known:
                return known[key]
            projected = forward(context)
            if key in contexts and allowance.take(projected):
                known[key] = projected
            return projected

        return project

    with ExitStack() as stack:
        for network in sorted(networks, key=id):  # in one order, so that no two threads wait for each other
            stack.enter_context(_lock_of(network))
        for module in (module for network in networks for module in network.modules()):
            if isinstance(module, Attention) and module.is_cross_attention:
                for projection in (module.to_k, module.to_v):
                    stack.enter_context(replaced_forward(projection, remembering(projection.forward)))
        yield lambda context: contexts.setdefault(id(context), context)


def embed_condition(controlnet: Any, condition: Tensor) -> Tensor:
    """What a ControlNet adds to its first features for `condition`, (B, c, …) in RGB → (B, C, h, w)."""
    fetch_offloaded(controlnet)
    features: Tensor = controlnet.controlnet_cond_embedding(condition.to(controlnet.dtype))
    return features


@contextmanager
def given_embeddings(controlnet: Any) -> Iterator[None]:
    """Within the block `controlnet` takes the output of `embed_condition` in place of the condition."""
    if controlnet.config.controlnet_conditioning_channel_order != "rgb":
        raise ValueError("this ControlNet reorders the channels of its condition; only RGB is supported")
    with replaced_forward(controlnet.controlnet_cond_embedding, lambda embedding: embedding):
        yield


@contextmanager
def replaced_forward(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the block `module` runs `forward` in place of its own."""
    before = vars(module).get("forward")  # none, unless something like accelerate's hooks has put its own there
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before
