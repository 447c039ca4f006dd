"""An evaluation as one HTML file that needs nothing else: tables beside published figures, distributions, pictures.

The tables and plots are made here; `report.html` holds the page around them and shows the pictures, which travel inside
it as lossy previews. Figures are always those of the full files.
"""

import base64
import html
import io
import json
import random
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from seesr.evaluation.published import REPRODUCED_WITHIN, PublishedRow, Reproduction, published_for
from seesr.evaluation.results import MethodResult, Results, mebibytes
from seesr.metrics.intervals import RESAMPLES, Difference, Mean
from seesr.metrics.registry import METRICS
from seesr.photos.photo import read_photo
from seesr.system.atomic import write_text
from seesr.system.machine import machine, versions

MOST_PICTURES = 120
"""A report with more would be too large to open; then the worst and the best are shown."""

MOST_DOTS = 300
"""Pictures a method that plots have dots of; of more every so many-th is drawn. Boxes are of all."""

LONGEST_SIDE = 1024
"""Pixels; larger previews are reduced to it."""

_QUALITY = 82


def write_report(results: Results, path: Path) -> None:
    """Write the report to `path`."""
    published = published_for(results.testset.folder)
    count = len(results.testset.pairs)
    shown = _pictures_to_show(results)
    kind = "with references" if results.testset.has_references else "without references"
    parts = {
        "title": f"{results.testset.folder.resolve().name}: {', '.join(method.name for method in results.methods)}",
        "subtitle": f"{count} pictures {kind}, enlarged {results.testset.scale} times",
        "shown": f"{len(shown)} of {count} pictures, the worst and the best" if len(shown) < count else "",
    }
    parts = {name: html.escape(text) for name, text in parts.items()}
    parts["table"] = _table(results, published)
    parts["notes"] = _notes(results, published)
    parts["plots"] = "".join(
        f'<div class="card">{_plot(results, metric)}</div>' for metric in results.metrics if _per_image(results, metric)
    )
    step = _dot_step(count)
    parts["dots"] = "A dot is a picture" if step == 1 else f"A dot is a picture (one in {step} is drawn)"
    parts["protocol"] = _protocol(results)
    data = json.dumps(_gallery(results, shown), allow_nan=False)
    parts["data"] = data.replace("<", "\\u003c")  # no name of a picture can then end or open an element
    page = (files("seesr.evaluation") / "report.html").read_text(encoding="utf-8")
    write_text(path, re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], page))  # at once: braces in names stay


def decimals(metric: str) -> int:
    """Digits after the point, as the field's tables print a metric."""
    return 2 if metric in ("PSNR", "FID", "NIQE", "MUSIQ") else 4


def signed(value: float, digits: int) -> str:
    """A difference with its sign, a true minus for a negative one; what rounds to nothing has none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[1:]


def p_text(p_value: float) -> str:
    """A p value to three digits, `= .025` or `< .001`."""
    if p_value < 0.001:
        return "< .001"
    return "= 1" if p_value > 0.9995 else f"= {p_value:.3f}".replace("0.", ".")


# ------------------------------------------------------------------------------------------------------------ tables


def _table(results: Results, published: list[PublishedRow]) -> str:
    arrows = {name: "↑" if METRICS[name].higher_is_better else "↓" for name in results.metrics}
    head = "".join(f"<th>{name} {arrow}</th>" for name, arrow in arrows.items())
    measured = "".join(_measured_row(results, method) for method in results.methods)
    methods = [row.method for row in published]
    printed = "".join(_published_row(results, row, methods.count(row.method) > 1) for row in published)
    if printed:
        group = f"published for {published[0].testset}, {published[0].pictures} pictures"
        printed = f'<tr class="group"><th colspan="{len(arrows) + 3}">{group}</th></tr>{printed}'
    return (
        f"<table><thead><tr><th>method</th>{head}<th>s / image</th><th>peak MiB</th></tr></thead>"
        f"<tbody>{measured}{printed}</tbody></table>"
    )


def _measured_row(results: Results, method: MethodResult) -> str:
    cells = []
    reproductions = results.reproductions(method)
    for name in results.metrics:
        mean = method.evaluation.summary[name]
        mark = ' class="best"' if mean.mean == results.best(name) and len(results.methods) > 1 else ""
        difference = results.differences.get(name, {}).get(method.name)
        cells.append(f"<td{mark}>{_figure(mean, difference, reproductions.get(name), decimals(name))}</td>")
    cost = method.mean_cost()
    peak = mebibytes(cost)
    cells.append(f"<td>{'' if cost.seconds is None else f'{cost.seconds:.3g}'}</td>")
    cells.append(f"<td>{'' if peak is None else f'{peak:.0f}'}</td>")
    return f"<tr><th>{html.escape(method.name)}</th>{''.join(cells)}</tr>"


def _figure(mean: Mean, difference: Difference | None, published: Reproduction | None, digits: int) -> str:
    text = f"{mean.mean:.{digits}f}"
    if mean.low is not None:
        text += f"<small>{mean.low:.{digits}f} – {mean.high:.{digits}f}</small>"
    if difference is not None:
        text += f"<small>{signed(difference.mean, digits)}, p {html.escape(p_text(difference.p_value))}</small>"
    if published is not None:
        kind = "holds" if published.holds else "off"
        text += f'<small class="{kind}">{signed(published.difference, digits)} to published</small>'
    return text


def _published_row(results: Results, row: PublishedRow, tell_source: bool) -> str:
    cells = (f"{row.scores[name]:.{decimals(name)}f}" if name in row.scores else "" for name in results.metrics)
    steps = f" ({row.steps} step{'s' if row.steps > 1 else ''})" if row.steps else ""
    source = f"<small>by {html.escape(row.source.partition(' ')[0])}</small>" if tell_source else ""
    name = f'<th title="{html.escape(row.source)}">{html.escape(row.method)}{steps}{source}</th>'
    return f"<tr>{name}{''.join(f'<td>{cell}</td>' for cell in cells)}<td></td><td></td></tr>"


def _notes(results: Results, published: list[PublishedRow]) -> str:
    few = "; from so few pictures it is too narrow" if results.few_pictures else ""
    lines = [f"Small: 95 % interval of the mean, percentile bootstrap with {RESAMPLES} resamples{few}."]
    if results.against:
        lines.append(
            f"Below it: mean difference to {results.against} picture by picture, and the two-sided p of a sign-flip "
            "permutation test, not adjusted for the number of comparisons."
        )
    if published:
        sources = dict.fromkeys(row.source for row in published)
        lines.append(f"Published figures: {'; '.join(sources)}.")
        if any(results.reproductions(method) for method in results.methods):
            within = ", ".join(f"{name} {REPRODUCED_WITHIN[name]:g}" for name in results.metrics)
            lines.append(f"“To published” is green where the mean is reproduced, that is within {within}.")
        count = len(results.testset.pairs)
        if count != published[0].pictures:
            lines.append(
                f"Measured here on {count} pictures, published on {published[0].pictures}: not to be compared directly."
            )
    lines += [f"{', '.join(names)}: not available, {reason}." for reason, names in results.reasons().items()]
    return "".join(f'<p class="soft">{html.escape(line)}</p>' for line in lines)


def _protocol(results: Results) -> str:
    variants = "".join(
        f"<tr><th>{name}</th><td>{html.escape(METRICS[name].origin)}</td></tr>" for name in results.metrics
    )
    facts = {"machine": machine(results.device), "versions": versions()}
    facts["methods"] = {method.name: method.settings for method in results.methods}
    details = html.escape(json.dumps(facts, indent=1))
    more = f"<details><summary>Machine, versions, settings</summary><pre>{details}</pre></details>"
    return f"<table>{variants}</table>{more}"


# ------------------------------------------------------------------------------------------------------------- plots

_LEFT, _WIDTH, _ROW, _TOP = 110, 420, 34, 26


def _plot(results: Results, metric: str) -> str:
    """Strip and box of every method on one axis, as SVG."""
    rows = [[row[metric] for row in method.evaluation.rows] for method in results.methods]
    names = [row["image"] for row in results.methods[0].evaluation.rows]
    low, high = min(map(min, rows)), max(map(max, rows))
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1
    low, high = low - margin, high + margin

    def at(value: float) -> float:
        x: float = _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - 8)
        return round(x, 1)

    bottom = _TOP + _ROW * len(rows)
    arrow = "higher is better" if METRICS[metric].higher_is_better else "lower is better"
    marks = [f'<text x="0" y="12"><tspan class="name" font-weight="600">{metric}</tspan>  {arrow}</text>']
    for tick in _ticks(low, high):
        marks.append(f'<line class="axis" x1="{at(tick)}" x2="{at(tick)}" y1="{_TOP}" y2="{bottom}"/>')
        marks.append(f'<text x="{at(tick)}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    for i, (method, values) in enumerate(zip(results.methods, rows)):
        middle = _TOP + _ROW * i + _ROW / 2
        first, median, third = (at(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
        label = method.name if len(method.name) <= 18 else f"{method.name[:7]}…{method.name[-10:]}"
        marks.append(f'<text class="name" x="0" y="{middle + 4}">{html.escape(label)}</text>')
        marks.append(
            f'<rect class="box" x="{first}" y="{middle - 10}" width="{third - first:.1f}" height="20" rx="3"/>'
        )
        marks.append(f'<line class="median" x1="{median}" x2="{median}" y1="{middle - 10}" y2="{middle + 10}"/>')
        jitter = random.Random(i)  # so that dots of equal figures do not hide each other
        for name, value in list(zip(names, values))[:: _dot_step(len(names))]:
            title = f"{name}: {value:.{decimals(metric)}f}"
            marks.append(
                f'<circle cx="{at(value)}" cy="{middle + jitter.uniform(-8, 8):.1f}" r="2.8" '
                f'data-picture="{html.escape(name)}"><title>{html.escape(title)}</title></circle>'
            )
    return f'<svg viewBox="0 0 {_WIDTH} {bottom + 20}">{"".join(marks)}</svg>'


def _dot_step(count: int) -> int:
    return -(-count // MOST_DOTS)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between two values, three to seven of them."""
    raw = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [round(i * step, 10) for i in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


# ---------------------------------------------------------------------------------------------------------- pictures


def _per_image(results: Results, metric: str) -> bool:
    return metric in results.methods[0].evaluation.rows[0]


def _sort_key(results: Results) -> tuple[list[str], str, int]:
    """Metrics per picture, and the metric and the method to sort by at first: the last one that is not `against`."""
    metrics = [name for name in results.metrics if _per_image(results, name)]
    ours = [i for i, method in enumerate(results.methods) if method.name != results.against]
    return metrics, "LPIPS" if "LPIPS" in metrics else next(iter(metrics), ""), ours[-1] if ours else 0


def _pictures_to_show(results: Results) -> list[str]:
    _, metric, method = _sort_key(results)
    rows = results.methods[method].evaluation.rows
    if len(rows) <= MOST_PICTURES:
        return [row["image"] for row in rows]
    ranked = sorted(rows, key=lambda row: row.get(metric, 0))
    half = MOST_PICTURES // 2
    return [row["image"] for row in (*ranked[:half], *ranked[-half:])]


def _gallery(results: Results, shown: list[str]) -> dict[str, object]:
    """What the page's script reads: methods, metrics, and per picture its versions as data URIs and their figures."""
    metrics, sort_metric, sort_method = _sort_key(results)
    names = [method.name for method in results.methods]
    rows = [{row["image"]: row for row in method.evaluation.rows} for method in results.methods]
    pairs = {pair.name: pair for pair in results.testset.pairs}
    pictures = []
    for name in shown:
        reference = pairs[name].reference
        pictures.append(
            {
                "name": name,
                "lr": _data_uri(pairs[name].restored),
                "hr": reference and _data_uri(reference),
                "images": [_data_uri(method.files[name]) for method in results.methods],
                "scores": [[by_name[name][metric] for metric in metrics] for by_name in rows],
            }
        )
    return {
        "methods": names,
        "metrics": [
            {"name": name, "higher": METRICS[name].higher_is_better, "digits": decimals(name)} for name in metrics
        ],
        "against": names.index(results.against) if results.against else None,
        "sort": {"metric": metrics.index(sort_metric) if metrics else 0, "method": str(sort_method)},
        "pictures": pictures,
    }


def _data_uri(path: Path) -> str:
    image = read_photo(path).rgb
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
