"""`seesr evaluate`: methods on a test set, as pictures, tables and a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesr.errors import SeesrError

if TYPE_CHECKING:
    from rich.table import Table

    from seesr.evaluation.run import Results


def evaluate(
    testset: Annotated[Path, typer.Option(help="Folder with lr/ and hr/, or with low-resolution pictures alone.")],
    method: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="bicubic, mini, MODEL:profile,key=value, realesrgan-x4plus, spandrel:FILE, ldm:FOLDER, folder:PATH or "
            "command:TEMPLATE; repeatable.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures, figures and report.")],
    metrics: Annotated[str | None, typer.Option(help="a,b,… instead of all.")] = None,
    against: Annotated[str | None, typer.Option(metavar="NAME", help="The method to compare the others with.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many pictures.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Measure methods on a test set: restored pictures, scores with intervals, and a report to look at."""
    from diffusers.utils import logging
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from seesr.apps.progress import console
    from seesr.devices import choose_device
    from seesr.evaluation.methods import make_method
    from seesr.evaluation.metrics import METRICS
    from seesr.evaluation.record import write_csv, write_json
    from seesr.evaluation.report import write_report
    from seesr.evaluation.run import read_testset, run_evaluation
    from seesr.evaluation.table import write_table

    logging.disable_progress_bar()  # the line of what is being done says enough
    names = [name.strip() for name in metrics.split(",") if name.strip()] if metrics else list(METRICS)
    target = choose_device(device)
    methods = [make_method(name, target) for name in dict.fromkeys(method)]
    if output.is_file():
        raise SeesrError(f"{output}: is a file; give a folder with -o")
    found = read_testset(testset, limit)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("")

        def show(what: str, done: int, total: int) -> None:
            if done == 0:
                bars.reset(bar, description=what, total=total)
            bars.update(bar, completed=done)

        results = run_evaluation(
            found,
            methods,
            names,
            output,
            against=against,
            device=str(target) if target.type == "cuda" else "cpu",
            progress=show,
        )
    write_csv(results, output / "scores.csv")
    write_json(results, output / "evaluation.json")
    write_table(results, output / "table.md")
    write_report(results, output / "report.html")
    Console(highlight=False).print(_summary(results))
    for name, reason in results.unavailable.items():
        console.print(f"{name} is not available: {reason}", soft_wrap=True)
    console.print(f"{output / 'report.html'}: written, with table.md, scores.csv and evaluation.json", soft_wrap=True)


def _summary(results: "Results") -> "Table":
    """Metric by metric: each method's mean with its 95 % interval and how it differs from the chosen method."""
    from rich.table import Table
    from rich.text import Text

    from seesr.evaluation.metrics import METRICS
    from seesr.evaluation.report import decimals, signed

    table = Table(title=f"{results.testset.folder}: {len(results.testset.pairs)} pictures", title_justify="left")
    table.add_column("metric")
    table.add_column("method", overflow="fold")
    for title in ("mean", "95 % interval", *([f"over {results.against}", "p"] if results.against else [])):
        table.add_column(title, justify="right", no_wrap=True)
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
                end_section=i == len(means) - 1,
            )
    for method in results.methods:
        seconds = method.mean_cost().seconds
        if seconds is not None:
            table.add_row("s / image", Text(method.name), f"{seconds:.3g}")
    return table
