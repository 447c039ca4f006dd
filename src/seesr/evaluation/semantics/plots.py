"""Plots of the two tag experiments, with matplotlib (extra `eval`, imported when a plot is drawn)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesr.errors import SeesrError
from seesr.evaluation.semantics.experiment import DAPE, RAM, Point
from seesr.evaluation.semantics.preservation import Preserved
from seesr.metrics.tags import FIGURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "OP": "overall precision (OP)",
    "OR": "overall recall (OR)",
    "AP": "overall average precision (AP)",
    "CP": "per-class precision (CP)",
    "CR": "per-class recall (CR)",
    "mAP": "per-class average precision (mAP)",
}
_COLORS = {RAM: "#8a8f98", DAPE: "#c2410c"}


def plot_experiment(points: Sequence[Point], path: Path) -> None:
    """Six panels, one a figure, over degradation strength: RAM and DAPE, with 95 % intervals where there are any."""
    figure = _figure(10.5, 5.8)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for panel, name in zip(panels.flat, FIGURES):
        for tagger in (RAM, DAPE):
            mine = [point for point in points if point.tagger == tagger]
            strengths = [point.strength for point in mine]
            values = [point.scores.summary[name] for point in mine]
            panel.plot(strengths, values, "o-", color=_COLORS[tagger], label=tagger, markersize=4)
            bounds = [point.scores.intervals[name] for point in mine if name in point.scores.intervals]
            if bounds:
                panel.fill_between(strengths, *zip(*bounds), color=_COLORS[tagger], alpha=0.15, linewidth=0)
        panel.set_title(TITLES[name], loc="left", fontsize=10)
        _style(panel)
        panel.set_ylim(0, 102)
    for panel in panels[1]:
        panel.set_xlabel("degradation strength")
    for panel in panels[:, 0]:
        panel.set_ylabel("%")
    panels[0, 0].legend(frameon=False)
    _save(figure, path)


def plot_preserved(rows: Sequence[Preserved], path: Path) -> None:
    """One panel a figure, one bar a method, the 95 % interval on it where there is one."""
    figure = _figure(10.5, 1.7 + 0.62 * len(rows))
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    names = [row.name if len(row.name) <= 24 else f"{row.name[:23]}…" for row in rows]
    places = range(len(rows))
    for panel, name in zip(panels.flat, FIGURES):
        values = [row.scores.summary[name] for row in rows]
        panel.barh(places, values, color="#c9ced6", height=0.6)
        for place, row, value in zip(places, rows, values):
            low, high = row.scores.intervals.get(name, (value, value))
            panel.plot((low, high), (place + 0.22, place + 0.22), color="#4b5563", linewidth=1)  # below the figure
            panel.text(1.5, place, f"{value:.1f}", va="center", fontsize=8)
        panel.set_title(TITLES[name], loc="left", fontsize=10)
        panel.set_yticks(places, names)
        _style(panel)
        panel.set_xlim(0, 100)
    panels[0, 0].invert_yaxis()
    for panel in panels[1]:
        panel.set_xlabel("%")
    _save(figure, path)


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that needs no display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SeesrError(f"plots need matplotlib ({error}); pip install 'seesr[eval]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _style(panel: Any) -> None:
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _save(figure: "Figure", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
