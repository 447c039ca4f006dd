"""Weights, gradients, averages and optimiser state split among the processes of a training (FSDP, Zhao et al. 2023,
arXiv 2304.11277; here PyTorch's `fully_shard`).

Every module of a stage is split at its blocks, the entries of its outermost `ModuleList`s, which are put together
while they compute. Modules must be used by calling them, which is when their weights are gathered.
"""

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from seesr.training.averaging import WeightAverage


def shard(modules: dict[str, nn.Module], accelerator: Accelerator) -> None:
    """Split the modules, in place, over all processes; the same weights must lie in each of them."""
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for module in modules.values():
        to: Any = module.to
        to(accelerator.device, memory_format=torch.contiguous_format)  # the only one that can be split
        for block in _blocks(module):
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child.children()  # an iterator of its own may hand out something else
        else:
            yield from _blocks(child)


@contextmanager
def whole(modules: dict[str, nn.Module]) -> Iterator[None]:
    """Within this context every process holds all weights as plain tensors, and any of them may compute alone."""
    parts = [part for module in modules.values() for part in module.modules()]
    split = [(part, name, p) for part in parts for name, p in part._parameters.items() if p is not None]
    gathered = {id(p): nn.Parameter(full(p.detach()), p.requires_grad) for _, _, p in split}
    for part, name, parameter in split:
        part._parameters[name] = gathered[id(parameter)]
    # the hooks around a call gather and split; alone in one process they would wait for the others
    hooks = [(part, part._forward_pre_hooks, part._forward_hooks) for part in parts if isinstance(part, FSDPModule)]
    for part, *_ in hooks:
        part._forward_pre_hooks, part._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for part, before, after in hooks:
            part._forward_pre_hooks, part._forward_hooks = before, after
        for part, name, parameter in split:
            part._parameters[name] = parameter


def full(value: Tensor) -> Tensor:
    """The whole of a split tensor; other tensors as they are."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def save_split(
    folder: Path, modules: dict[str, nn.Module], optimizer: Any, average: WeightAverage, accelerator: Accelerator
) -> None:
    """Every process writes its part of the state into an existing folder."""
    save(_state(modules, optimizer, average), checkpoint_id=folder / "split")
    torch.save(_random_state(), folder / f"random-{accelerator.process_index}.pt")


def load_split(
    folder: Path, modules: dict[str, nn.Module], optimizer: Any, average: WeightAverage, accelerator: Accelerator
) -> None:
    """Every process reads its part of what `save_split` wrote, whatever the number of processes was then."""
    state = _state(modules, optimizer, average)
    load(state, checkpoint_id=folder / "split")
    set_state_dict(
        nn.ModuleDict(modules),
        optimizer.optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
    )
    for name, value in average.shadow.items():
        value.copy_(state["average"][name])
    random_file = folder / f"random-{accelerator.process_index}.pt"
    if random_file.is_file():
        _set_random_state(torch.load(random_file, weights_only=False))


def _state(modules: dict[str, nn.Module], optimizer: Any, average: WeightAverage) -> dict[str, Any]:
    model, optimizer_state = get_state_dict(nn.ModuleDict(modules), optimizer.optimizer)
    return {"model": model, "optimizer": optimizer_state, "average": dict(average.shadow)}


def _random_state() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
