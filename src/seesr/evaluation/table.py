"""An evaluation as one Markdown page: the field's table, measured beside published, and what it was measured with."""

from pathlib import Path

from seesr.evaluation.published import REPRODUCED_WITHIN, PublishedRow, published_for
from seesr.evaluation.report import decimals, p_text, signed
from seesr.evaluation.results import MethodResult, Results, mebibytes
from seesr.metrics.registry import METRICS
from seesr.system.atomic import write_text
from seesr.system.machine import versions


def write_table(results: Results, path: Path) -> None:
    """Write the page to `path`."""
    published = published_for(results.testset.folder)
    count, scale = len(results.testset.pairs), results.testset.scale
    arrows = [f"{name} {'↑' if METRICS[name].higher_is_better else '↓'}" for name in results.metrics]
    name = published[0].testset if published else results.testset.folder.resolve().name
    lines = [f"# {name}: {count} pictures, {scale}x", ""]
    lines += _table(
        ["measured", *arrows, "s / picture", "peak MiB"], [_measured(results, method) for method in results.methods]
    )
    few = "; from so few pictures it is too narrow" if results.few_pictures else ""
    lines += [f"Below each mean its 95 % bootstrap interval over pictures{few}. Bold: the best mean.", ""]
    if results.against:
        lines += _table([f"over {results.against}", *arrows], _differences(results))
        test = "Mean differences picture by picture, with the two-sided p of a sign-flip permutation test"
        lines += [f"{test}, not adjusted for the number of comparisons.", ""]
    if published:
        lines += _table(["published", *arrows], [_published(results, row) for row in published])
        lines += [f"From {'; '.join(dict.fromkeys(row.source for row in published))}.", ""]
    reproduced = [row for method in results.methods if (row := _reproduced(results, method))]
    if reproduced:
        within = ", ".join(f"{name} {REPRODUCED_WITHIN[name]:g}" for name in results.metrics)
        lines += _table(["measured − published", *arrows], reproduced)
        lines += [f"✓: reproduced, that is within {within}.", ""]
    lines += ["## How it was measured", ""]
    lines += [f"- {name}: {METRICS[name].origin}" for name in results.metrics]
    lines += [f"- {', '.join(names)}: not available, {reason}" for reason, names in results.reasons().items()]
    lines += _hardware(results)
    lines += [f"- {', '.join(f'{name} {version}' for name, version in versions().items())}", ""]
    write_text(path, "\n".join(lines))


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *escaped)] + [""]


def _measured(results: Results, method: MethodResult) -> list[str]:
    cells = [f"`{method.name}`"]
    for name in results.metrics:
        mean, digits = method.evaluation.summary[name], decimals(name)
        best = "**" if mean.mean == results.best(name) and len(results.methods) > 1 else ""
        text = f"{best}{mean.mean:.{digits}f}{best}"
        if mean.low is not None:
            text += f"<br>{mean.low:.{digits}f} – {mean.high:.{digits}f}"
        cells.append(text)
    cost = method.mean_cost()
    peak = mebibytes(cost)
    return [*cells, "" if cost.seconds is None else f"{cost.seconds:.3g}", "" if peak is None else f"{peak:.0f}"]


def _differences(results: Results) -> list[list[str]]:
    rows = []
    for method in results.methods:
        cells = []
        for name in results.metrics:
            found = results.differences.get(name, {}).get(method.name)
            cells.append("" if found is None else f"{signed(found.mean, decimals(name))}<br>p {p_text(found.p_value)}")
        if any(cells):
            rows.append([f"`{method.name}`", *cells])
    return rows


def _published(results: Results, row: PublishedRow) -> list[str]:
    steps = f" ({row.steps} step{'s' if row.steps > 1 else ''})" if row.steps else ""
    figures = [f"{row.scores[name]:.{decimals(name)}f}" if name in row.scores else "" for name in results.metrics]
    return [f"{row.method}{steps}", *figures]


def _reproduced(results: Results, method: MethodResult) -> list[str]:
    found = results.reproductions(method)
    cells = [
        f"{signed(found[name].difference, decimals(name))}{' ✓' if found[name].holds else ''}" if name in found else ""
        for name in results.metrics
    ]
    return [f"`{method.name}`", *cells] if found else []


def _hardware(results: Results) -> list[str]:
    """What times and memory were taken on, said once where it is the same for all."""
    found: dict[str, list[str]] = {}
    for method in results.methods:
        for text in method.hardware():
            found.setdefault(text, []).append(f"`{method.name}`")
    if len(found) == 1:
        return [f"- Time and memory: {text}" for text in found]
    return [f"- Time and memory of {', '.join(names)}: {text}" for text, names in found.items()]
