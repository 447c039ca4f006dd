"""The options that name a model and where it runs, and the loading that they ask for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seesr.system.shown import shown

if TYPE_CHECKING:
    from seesr.restoration.restorer import Restorer

Model = Annotated[str, typer.Option(help="mini (embedded), sd2, sd2-turbo, a model folder, or a hub id.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16 (fp32, bf16, fp16).")]


def load_model(
    load: "Callable[..., Restorer]", model: str, device: str, dtype: str, exact: bool, **wanted: Any
) -> "Restorer":
    """Load a model by one of loading.py's functions, on the device and in the number format asked for.

    Args:
        exact: "auto" means float32 on the CPU.
    """
    from rich.text import Text

    from seesr.apps.progress import console
    from seesr.checkpoints.registry import resolve
    from seesr.devices import choose_device, choose_dtype

    target = choose_device(device)
    number_format = choose_dtype(dtype, target, exact)
    resolve(model)  # a download shows its own progress
    with console.status(Text(shown(f"loading {model}"))):
        return load(model, number_format, target, **wanted)
