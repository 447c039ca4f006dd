"""A study's plots: vector graphics for the report and for papers, by matplotlib (extra `study`)."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesr.errors import SeesrError
from seesr.study.results import PartResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, LINE, ACCENT, BAR = "#1c2330", "#667085", "#d5d9e0", "#1f5fd0", "#c3d3f2"


def plotting() -> Any:
    """matplotlib's module of figures.

    Raises:
        SeesrError: it is not installed.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise SeesrError("the report's plots need matplotlib: pip install 'seesr[study]'") from error
    matplotlib.rcParams.update(
        {
            "font.family": "sans-serif",
            "font.size": 10,
            "svg.fonttype": "none",
            "svg.hashsalt": "seesr",
            "pdf.fonttype": 42,
            "text.parse_math": False,  # a dollar in a method's name is a dollar
            "text.color": INK,
            "axes.edgecolor": LINE,
            "axes.labelcolor": SOFT,
            "xtick.color": SOFT,
            "ytick.color": INK,
        }
    )
    return matplotlib.figure


def plot_ranking(result: PartResult, methods: tuple[str, ...]) -> "Figure":
    """Shares with intervals and chance on the left, log strengths with intervals on the right, the best on top."""
    found, order = result.preferences, result.ranking
    names = [_short(methods[i]) for i in order]
    figure: Figure = plotting().Figure(figsize=(9, 1.3 + 0.42 * len(order)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = range(len(order))
    for row, i in enumerate(order):
        share, strength = found.shares[i], found.strengths[i]
        left.barh(row, 100 * share.value, height=0.62, color=ACCENT if row == 0 else BAR)
        left.plot([100 * share.low, 100 * share.high], [row, row], color=INK, linewidth=1.4, solid_capstyle="butt")
        label = f"{100 * share.value:.1f}"
        left.annotate(
            label, (100 * share.high, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9
        )
        colour = ACCENT if row == 0 else SOFT
        right.plot([strength.low, strength.high], [row, row], color=colour, linewidth=2, solid_capstyle="round")
        right.plot(strength.value, row, "o", color=colour, markersize=7)
        left.plot([100 * found.chance[i]] * 2, [row - 0.42, row + 0.42], color=SOFT, linewidth=1, linestyle=(0, (3, 2)))
    left.set_yticks(rows, names)
    left.set_ylim(len(order) - 0.45, -0.55)
    left.set_xlim(0, min(118, 1.16 * 100 * max(share.high for share in found.shares)))
    left.set_xlabel("chosen, % (dashed: blind choice)")
    right.axvline(0, color=LINE, linewidth=1, zorder=0)
    right.set_xlabel("log strength, Bradley-Terry-Luce")
    for axes in (left, right):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(axis="x", color=LINE, linewidth=0.6, alpha=0.7)
        axes.set_axisbelow(True)
    return figure


def plot_duels(result: PartResult, methods: tuple[str, ...]) -> "Figure":
    """Probability that the row's method is preferred to the column's; bold where the interval leaves out a half."""
    order, beats = result.ranking, result.preferences.beats
    names = [_short(methods[i]) for i in order]
    side = 1.4 + 0.5 * len(order)
    figure: Figure = plotting().Figure(figsize=(side + 1.1, side), layout="constrained")
    axes = figure.subplots()
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("duels", ["#d9822b", "#fbe9d7", "#f4f5f7", "#dbe6fb", ACCENT])
    values = [[beats[i][j].value if i != j else float("nan") for j in order] for i in order]
    axes.imshow(values, cmap=colours, vmin=0, vmax=1)
    for row, i in enumerate(order):
        for column, j in enumerate(order):
            if i != j:
                duel = beats[i][j]
                sure = duel.low > 0.5 or duel.high < 0.5
                axes.text(
                    column,
                    row,
                    f"{100 * duel.value:.0f}",
                    ha="center",
                    va="center",
                    color="white" if duel.value > 0.85 else INK,
                    fontweight="bold" if sure else "normal",
                )
    axes.set_xticks(range(len(order)), names, rotation=35, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(order)), names)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks([i + 0.5 for i in range(len(order) - 1)], minor=True)
    axes.set_yticks([i + 0.5 for i in range(len(order) - 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    return figure


def to_svg(figure: "Figure", label: str) -> str:
    """An SVG element that scales with its surroundings and says in words what it is."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def save_pdf(figure: "Figure", path: Path) -> None:
    """For papers: fonts embedded, the same bytes for the same figures."""
    figure.savefig(path, format="pdf", metadata={"CreationDate": None})


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"
