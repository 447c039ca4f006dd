"""`seesr web`: the page and the API on this machine."""

import time
from typing import Annotated

import typer

from seesr.apps.result_options import Enlarger
from seesr.errors import SeesrError
from seesr.system.shown import shown


def web(
    model: Annotated[str, typer.Option(help="mini (embedded), sd2, sd2-turbo, a model folder, or a hub id.")] = "mini",
    enlarger: Enlarger = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 7860,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    auth: Annotated[
        str | None, typer.Option(metavar="USER:PASSWORD", envvar="SEESR_WEB_AUTH", help="Ask for it.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="SEESR_WEB_API_KEY", help="Ask programs for it.")] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Megabytes of a file.")] = 50,
    max_megapixels: Annotated[float, typer.Option(min=0.01, help="Of a photo, and of its result.")] = 64,
    max_queue: Annotated[int, typer.Option(min=1, help="Photos that wait.")] = 16,
    max_per_visitor: Annotated[int, typer.Option(min=1, help="Photos and results of one address.")] = 24,
    max_seconds: Annotated[float, typer.Option(min=1, help="That one photo may take.")] = 900,
    keep_minutes: Annotated[float, typer.Option(min=0, help="That a result is kept.")] = 30,
) -> None:
    """Serve the page and the HTTP API."""
    try:
        from seesr.apps.web.server import Access, running
    except ImportError as error:
        raise SeesrError(f"seesr web needs more packages ({error.name}); pip install 'seesr[web]'") from None
    from rich.text import Text

    from seesr.apps.progress import console
    from seesr.apps.web.jobs import Limits
    from seesr.checkpoints.foreign import load_foreign_enlarger
    from seesr.devices import choose_device, choose_dtype
    from seesr.loading import load_pipeline

    user, colon, password = (auth or "").partition(":")
    if auth is not None and not (user and colon and password):
        raise SeesrError("--auth must be USER:PASSWORD")
    place = choose_device(device)
    number_format = choose_dtype(dtype, place)
    foreign = None if enlarger is None else load_foreign_enlarger(enlarger, number_format)
    with console.status(Text(shown(f"loading {model}"))):
        pipeline = load_pipeline(model, number_format, place, foreign)
    limits = Limits(max_upload * 1_000_000, max_megapixels, max_queue, max_per_visitor, max_seconds, 60 * keep_minutes)
    access = Access(host, port, (user, password) if auth else None, api_key)
    with running(pipeline, limits, access) as address:
        console.print(f"seesr is at {address}", markup=False)
        console.print(f"the API is described at {address}docs; Ctrl-C ends the server", markup=False)
        if browser:
            typer.launch(address)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("ending", markup=False)
