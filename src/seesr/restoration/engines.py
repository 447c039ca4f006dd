"""Which of a model's two enlargers a restoration uses: the large one, or the small one for large photos."""

from typing import Any

from seesr.errors import SeesrError
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.restoration.settings import Engine

PARTS: dict[Engine, str] = {"fine": "enlarger", "quick": "quick"}
"""The component of a model that each engine is."""


def enlarger_of(networks: Any, engine: Engine) -> TiledEnlarger | None:
    """The enlarger called `engine` among the attributes of `networks`; None where a model enlarges bicubically.

    Raises:
        SeesrError: the model has no quick one.
    """
    network: TiledEnlarger | None = getattr(networks, PARTS[engine], None)
    if network is None and engine != "fine":
        raise SeesrError(f"this model has no {engine} enlarger; set `engine` to fine")
    return network
