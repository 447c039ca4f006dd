"""`seesr evaluate`: methods on a test set, as pictures, tables and a report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesr.errors import SeesrError

if TYPE_CHECKING:
    from rich.table import Table

    from seesr.evaluation.results import Results
    from seesr.evaluation.run import EvaluationProgress


def evaluate(
    testset: Annotated[Path, typer.Option(help="Folder with lr/ and hr/, or with low-resolution pictures alone.")],
    method: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="bicubic, mini, sd2, MODEL:profile,key=value, realesrgan-x4plus, spandrel:FILE, ldm:FOLDER, "
            "folder:PATH or command:TEMPLATE; repeatable.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures, figures and report.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of all SeeSR models; repeatable."),
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="a,b,… instead of all.")] = None,
    against: Annotated[str | None, typer.Option(metavar="NAME", help="The method to compare the others with.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many pictures.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that seesr did not write.")] = False,
) -> None:
    """Measure methods on a test set: restored pictures, scores with intervals, and a report to look at."""
    from diffusers.utils import logging
    from rich.console import Console

    from seesr.apps.jobs.outputs import check_files, check_outputs, grouped, recorded
    from seesr.apps.progress import say
    from seesr.devices import choose_device
    from seesr.evaluation.methods import apply_settings, make_method
    from seesr.evaluation.record import write_csv, write_json
    from seesr.evaluation.report import write_report
    from seesr.evaluation.run import folder_name, read_testset, run_evaluation
    from seesr.evaluation.table import write_table
    from seesr.metrics.registry import METRICS, get_metric

    logging.disable_progress_bar()  # the line of what is being done says enough
    names = list(METRICS) if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    if not names:
        raise SeesrError(f"--metrics {metrics!r} names none; there are {', '.join(METRICS)}")
    for name in names:
        get_metric(name)
    if against is not None and against not in method:
        raise SeesrError(f"--against cannot be {against!r}: none of the methods is called so; add it with --method")
    check_folder(output)
    reports = [output / name for name in ("scores.csv", "evaluation.json", "table.md", "report.html")]
    check_files([], reports, overwrite)
    found = read_testset(testset, limit)
    sources = [path for pair in found.pairs for path in (pair.restored, pair.reference) if path is not None]
    named = apply_settings(method, settings or [])
    restored = [
        output / "restored" / folder_name(name) / f"{pair.name}.png"
        for name in dict.fromkeys(named.values())
        for pair in found.pairs
    ]
    check_outputs(grouped(sources), grouped(restored), overwrite)
    target = choose_device(device)
    methods = [make_method(name, target) for name in dict.fromkeys(named.values())]  # last: it may fetch gigabytes

    with recorded(output, overwrite=overwrite):
        with picture_progress() as show:
            results = run_evaluation(
                found,
                methods,
                names,
                output,
                against=named[against] if against else None,
                device=str(target) if target.type == "cuda" else "cpu",
                progress=show,
            )
        write_csv(results, output / "scores.csv")
        write_json(results, output / "evaluation.json")
        write_table(results, output / "table.md")
        write_report(results, output / "report.html")
    Console(highlight=False).print(_summary(results))
    for reason, without in results.reasons().items():
        say(f"{', '.join(without)} not available: {reason}")
    say(f"{output / 'report.html'}: written, with table.md, scores.csv and evaluation.json")


def check_folder(output: Path) -> None:
    """Raises SeesrError if the folder to write to is a file."""
    if output.is_file():
        raise SeesrError(f"{output}: is a file; give a folder with -o")


@contextmanager
def picture_progress() -> "Iterator[EvaluationProgress]":
    """A bar on a terminal, moved by the function it yields: what is being done, pictures done, pictures in all."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from seesr.apps.progress import console, plain_text

    columns = (plain_text(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("")

        def show(what: str, done: int, total: int) -> None:
            if done == 0:
                bars.reset(bar, description=what, total=total)
            bars.update(bar, completed=done)

        yield show


def _summary(results: "Results") -> "Table":
    """Metric by metric: each method's mean with its 95 % interval and how it differs from the chosen method."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from seesr.evaluation.report import decimals, signed
    from seesr.metrics.registry import METRICS

    title = f"{results.testset.folder}: {len(results.testset.pairs)} pictures"
    title += f"; differences are to {results.against}" if results.against else ""
    table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("metric", no_wrap=True)
    table.add_column("method", overflow="fold")
    for head in ("mean", "95 % interval", *(["difference", "p"] if results.against else [])):
        table.add_column(head, justify="right", no_wrap=True)
    for name in results.metrics:
        metric, digits = METRICS[name], decimals(name)
        means = [method.evaluation.summary[name] for method in results.methods]
        for i, (method, mean) in enumerate(zip(results.methods, means)):
            cells = [f"{name} {'↑' if metric.higher_is_better else '↓'}" if i == 0 else "", method.name]
            cells.append(f"{mean.mean:.{digits}f}")
            cells.append("" if mean.low is None else f"{mean.low:.{digits}f} to {mean.high:.{digits}f}")
            difference = results.differences.get(name, {}).get(method.name)
            if difference is not None:
                cells += [signed(difference.mean, digits), f"{difference.p_value:.4f}"]
            table.add_row(
                *map(Text, cells),  # plain: square brackets in names are no markup
                style="bold" if mean.mean == results.best(name) and len(means) > 1 else "",
            )
        table.add_section()
    known = [
        (method.name, seconds) for method in results.methods if (seconds := method.mean_cost().seconds) is not None
    ]
    for i, (method_name, seconds) in enumerate(known):
        table.add_row("s / image" if i == 0 else "", Text(method_name), f"{seconds:.3g}")
    return table
