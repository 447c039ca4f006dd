"""`seesr train`: one stage of the training."""

from pathlib import Path
from typing import Annotated

import typer

from seesr.errors import SeesrError

STAGES = ("autoencoder", "dape", "enlarger", "prior", "seesr", "tagger", "text", "turbo")


def train(
    stage: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}.", show_default=False)],
    config: Annotated[Path, typer.Option(help="YAML file; see configs/.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that no training run wrote.")] = False,
) -> None:
    """Train one stage; it goes on from its last state."""
    import logging
    from importlib import import_module

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)

    if stage not in STAGES:
        raise SeesrError(f"no training stage {stage!r}; there are {', '.join(STAGES)}")
    changes = [*(overrides or []), *(["overwrite=true"] if overwrite else [])]
    import_module(f"seesr.training.stages.{stage}").train(config, changes)
