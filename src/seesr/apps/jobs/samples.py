"""The best of several samples of a photo, from one seed on: that with the lowest NIQE (`seesr.metrics.niqe`).

It takes the place of the one result, so folders of photos are nothing special. To keep all samples of a photo is an
affair of plans (`seesr.apps.jobs.folder.numbered_plans`): each is a result of its own.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from seesr.errors import SeesrError
from seesr.photos.pictures import Picture, to_tensor
from seesr.restoration.outputs import SeeSROutput
from seesr.restoration.restorer import Restorer

_BLOCK = 96  # pixels a side: NIQE wants two such squares


def check_ranked(size: tuple[int, int]) -> None:
    """Find out before any work whether NIQE can rank results of that size, (width, height).

    Raises:
        SeesrError: they are too small, or what NIQE needs cannot be fetched.
    """
    if (size[0] // _BLOCK) * (size[1] // _BLOCK) < 2:
        raise SeesrError(f"`keep` best needs results of at least {2 * _BLOCK} x {_BLOCK} pixels; make them larger")
    _niqe()


def best_sample(
    restorer: Restorer, photo: Picture, samples: int, asked: dict[str, Any], on_event: Callable[[Any], None]
) -> tuple[SeeSROutput, int]:
    """The sample of a photo with the lowest NIQE, of the seeds from that of `asked` on, and its seed.

    Args:
        asked: keyword arguments of the restorer's call.
    """
    first = asked.get("seed") or 0
    best: tuple[float, int, SeeSROutput] | None = None
    scores = []
    for seed in range(first, first + samples):
        result: SeeSROutput = restorer(photo, callback=on_event, **asked | {"seed": seed})
        scores.append(float(_niqe()(to_tensor(result.images[0]))))
        if best is None or scores[-1] < best[0]:
            best = scores[-1], seed, result
    assert best is not None
    told = ", ".join(f"{first + place}: {score:.2f}" for place, score in enumerate(scores))
    best[2].notes = ["; ".join(filter(None, [*best[2].notes, f"`seed` {best[1]} is the best by NIQE ({told})"]))]
    return best[2], best[1]


@cache
def _niqe() -> Callable[[torch.Tensor], torch.Tensor]:
    from seesr.metrics.niqe import Niqe  # fetches its data

    return Niqe()
