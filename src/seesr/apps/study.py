"""`seesr study make | serve | report`: which restoration people like best."""

import math
import signal
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from seesr.errors import SeesrError
from seesr.system.shown import shown

study = typer.Typer(help="Ask people which restoration they like best.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="Made by seesr study make.", show_default=False)]


class Mode(str, Enum):
    """Values of --mode."""

    choice = "choice"
    pairs = "pairs"


@study.command()
def make(
    method: Annotated[
        list[str],
        typer.Option(
            "--method",
            "--methods",
            metavar="NAME=DIR",
            help="A method and the folder of its pictures; repeatable. A name given twice has both folders' pictures.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    lr: Annotated[Path | None, typer.Option(help="Low-resolution photos that have references.")] = None,
    hr: Annotated[Path | None, typer.Option(help="The references: which picture is closest to them?")] = None,
    real: Annotated[Path | None, typer.Option(help="Photos without references: which restoration is best?")] = None,
    mode: Annotated[Mode, typer.Option(help="All methods at once, as in the paper, or two.")] = Mode.choice,
    photos: Annotated[int | None, typer.Option(help="A random sample of so many, of each kind.")] = None,
    questions: Annotated[int, typer.Option(help="Pairs a rater gets of each kind, with --mode pairs.")] = 32,
    checks: Annotated[int, typer.Option(help="Attention checks, of each kind.")] = 2,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Which picture is better?",
    seed: Annotated[int, typer.Option(help="Of the sample and the checks.")] = 0,
) -> None:
    """Make a study from folders of pictures: a page that needs no server, and the key to it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from seesr.apps.progress import console
    from seesr.study.design import ASKED, PUBLIC
    from seesr.study.make import make_study

    columns = (TextColumn("writing pictures"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("")
        made = make_study(
            output,
            [_method(text) for text in method],
            lr=lr,
            hr=hr,
            real=real,
            mode=mode.value,
            title=title,
            photos=photos,
            questions=questions,
            checks=checks,
            seed=seed,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    for part in made.parts:
        typer.echo(f"{ASKED[part.kind]} {len(part.photos)} photos, {part.length} questions a rater")
    told = f"{output}: written; raters get {output / PUBLIC} as it is, or what 'seesr study serve {output}' shows"
    typer.echo(shown(told))


def _method(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not sign or not name.strip() or not folder:
        raise SeesrError(f"--method {text}: no such method; say where its pictures are, as in --method mini=out/mini")
    return name.strip(), Path(folder)


@study.command()
def serve(
    folder: Folder,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
) -> None:
    """Serve a study to raters and keep their votes in its folder, until Ctrl+C."""
    from seesr.study.serve import StudyServer

    server = StudyServer(folder, host, port)
    typer.echo(shown(f"{server.study.title} Open {server.url} (Ctrl+C ends; votes are kept as they come)"))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        ballots = server.votes.ballots()
        server.server_close()
    done = sum(ballot.finished for ballot in ballots)
    typer.echo(f"ended; {sum(len(ballot.votes) for ballot in ballots)} votes of {len(ballots)} raters, {done} finished")


@study.command()
def report(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for report, tables and plots.")],
    allowed_failures: Annotated[int, typer.Option(help="Attention checks a rater may fail and still count.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that seesr did not write.")] = False,
) -> None:
    """Evaluate the votes: shares with intervals, a ranking, agreement, plots."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from seesr.apps.jobs.outputs import check_files, recorded
    from seesr.apps.progress import say
    from seesr.study.design import ASKED
    from seesr.study.report import write_report

    files = [output / f"{name}.csv" for name in ("votes", "methods", "raters")] + [output / "report.html"]
    files += [output / f"{part}-{plot}.pdf" for part in ASKED for plot in ("ranking", "duels")]
    check_files([], files, overwrite)
    with recorded(output, overwrite=overwrite, also=files):
        result = write_report(folder, output, allowed_failures)
    console = Console(highlight=False)
    for part in result.parts:
        console.print(f"{ASKED[part.part.kind]} {part.votes} votes, {part.raters} raters", soft_wrap=True)
        table = Table()
        table.add_column("method", overflow="fold")
        for title in ("chosen", "95 % interval", "log strength", "95 % interval"):
            table.add_column(title, justify="right", no_wrap=True)
        for i in part.ranking:
            share, strength = part.preferences.shares[i], part.preferences.strengths[i]
            table.add_row(
                Text(result.study.methods[i]),
                f"{share.value:.1%}",
                f"{share.low:.1%} to {share.high:.1%}",
                f"{strength.value:+.2f}",
                f"{strength.low:+.2f} to {strength.high:+.2f}" if math.isfinite(strength.low) else "–",
            )
        console.print(table)
    if result.excluded:
        names = ", ".join(rater.name for rater in result.excluded)
        say(f"left out, having failed attention checks: {names}", to=console)
    say(f"{output / 'report.html'}: written, with votes, methods and raters as CSV and plots as PDF", to=console)
