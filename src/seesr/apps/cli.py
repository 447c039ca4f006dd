"""The `seesr` command: its subcommands, and errors as one line. The heavy imports wait until a subcommand runs."""

import os
import sys
import warnings
from typing import Any

import typer

from seesr.apps.cluster.command import cluster
from seesr.apps.convert import convert, download
from seesr.apps.data import app as data
from seesr.apps.degrade import degrade
from seesr.apps.doctor import doctor
from seesr.apps.evaluate import evaluate
from seesr.apps.export import export
from seesr.apps.options import in_options
from seesr.apps.semantics import semantics
from seesr.apps.study import study
from seesr.apps.tags import tags
from seesr.apps.train import train
from seesr.apps.upscale import upscale
from seesr.apps.web.command import web
from seesr.errors import SeesrError, SeesrWarning, SeveralLinesError
from seesr.system.shown import shown

app = typer.Typer(
    help="Restore real photos with SeeSR: semantics-aware super-resolution.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="--debug, anywhere, shows the traceback of an error.",
)
for command in (upscale, cluster, tags, convert, download, degrade, train, evaluate, doctor, web):
    app.command()(command)
app.add_typer(data, name="data")
app.add_typer(semantics, name="semantics")
app.add_typer(study, name="study")
app.add_typer(export, name="export")


def _quiet_libraries() -> None:
    """Loading bars and advice of the libraries below are not for the user of a command."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> Any:
    """Entry point: errors the user can mend are one line and exit code 2; --debug shows tracebacks."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    _quiet_libraries()
    warnings.simplefilter("ignore", SeesrWarning)  # commands say the same themselves
    try:
        app()
    except SeesrError as error:
        if debug:
            raise
        message = f"seesr: {in_options(str(error))}"
        lines = message.split("\n") if isinstance(error, SeveralLinesError) else [message]
        typer.echo("\n".join(map(shown, lines)), err=True)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, MemoryError) or "not enough memory" in str(error) or "out of memory" in str(error):
            typer.echo("seesr: out of memory; a smaller --scale or --latent-tile needs less", err=True)
            sys.exit(2)
        typer.echo(shown(f"seesr: {type(error).__name__}: {error} (--debug shows where)"), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
