"""A study's report: one HTML page that needs nothing else, tables as CSV, plots as PDF."""

import base64
import html
import io
import math
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

import seesr
from seesr.errors import SeesrError
from seesr.study.design import ASKED, PUBLIC, Question, Study, read_study
from seesr.study.plots import plot_duels, plot_ranking, plotting, save_pdf, to_svg
from seesr.study.results import Agreement, PartResult, StudyResult, evaluate_study
from seesr.study.statistics import RESAMPLES, SEED, Interval
from seesr.study.tables import method_rows, rater_rows, vote_rows
from seesr.study.votes import read_ballots
from seesr.system.atomic import csv_text, write_text

_THUMBNAIL = 220
_QUALITY = 80


def write_report(folder: Path, output: Path, allowed_failures: int = 0) -> StudyResult:
    """Evaluate the study in `folder` and write report.html, votes.csv, methods.csv, raters.csv and plots to `output`.

    Raises:
        SeesrError: no study, no votes, a damaged database or file, no matplotlib, or `output` cannot be written.
    """
    if allowed_failures < 0:
        raise SeesrError(f"`allowed_failures` cannot be {allowed_failures}; the least is 0")
    plotting()
    study = read_study(folder)
    result = evaluate_study(study, read_ballots(folder, study), allowed_failures)
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "votes.csv", csv_text(vote_rows(result)))
        write_text(output / "methods.csv", csv_text(method_rows(result)))
        write_text(output / "raters.csv", csv_text(rater_rows(result)))
        plots = {}
        for part in result.parts:
            ranking, duels = plot_ranking(part, study.methods), plot_duels(part, study.methods)
            save_pdf(ranking, output / f"{part.part.kind}-ranking.pdf")
            save_pdf(duels, output / f"{part.part.kind}-duels.pdf")
            plots[part.part.kind] = (
                to_svg(ranking, "vote shares and strengths of the methods"),
                to_svg(duels, "how often one method is preferred to another"),
            )
        write_text(output / "report.html", _page(result, plots, folder / PUBLIC / "images"))
    except OSError as error:
        raise SeesrError(f"{error.filename or output}: cannot be written ({error.strerror or error})") from error
    return result


# ----------------------------------------------------------------------------------------------------------------- page


def _page(result: StudyResult, plots: dict[str, tuple[str, str]], images: Path) -> str:
    study = result.study
    present = [rater for rater in result.raters if rater.votes]
    counted = [rater for rater in present if rater.counted]
    votes = sum(part.votes for part in result.parts)
    design = "one of all" if study.mode == "choice" else "one of two"
    page = (files("seesr.study") / "report.html").read_text(encoding="utf-8")
    parts = {
        "title": html.escape(study.title),
        "facts": "".join(
            f"<div><b>{value}</b><span>{name}</span></div>"
            for value, name in (
                (str(votes), "votes counted"),
                (str(len(counted)), f"of {len(present)} raters counted"),
                (str(sum(len(part.part.photos) for part in result.parts)), "photos"),
                (str(len(study.methods)), f"methods, {design} chosen"),
            )
        ),
        "warnings": "".join(f'<p class="warning">{html.escape(text)}</p>' for text in _warnings(result)),
        "parts": "".join(_section(result, part, plots[part.part.kind], images) for part in result.parts),
        "raters": _raters(result),
        "protocol": _protocol(result),
    }
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], page)  # at once: braces in names stay


def _warnings(result: StudyResult) -> list[str]:
    lines = []
    if result.excluded:
        allowed = f"more than {result.allowed_failures}" if result.allowed_failures else "an"
        checks = "attention checks" if result.allowed_failures else "attention check"
        names = ", ".join(rater.name for rater in result.excluded)
        lines.append(f"Left out, having failed {allowed} {checks}: {names}.")
    unchecked = [rater.name for rater in result.raters if rater.counted and rater.votes and not rater.checks]
    if unchecked:
        lines.append(f"Counted without having met an attention check: {', '.join(unchecked)}.")
    unfinished = [rater.name for rater in result.raters if rater.counted and rater.votes and not rater.finished]
    if unfinished:
        lines.append(f"Counted with the votes so far, not having finished: {', '.join(unfinished)}.")
    for part in result.parts:
        extremes = [
            name
            for name, strength in zip(result.study.methods, part.preferences.strengths)
            if not math.isfinite(strength.low)
        ]
        if extremes:
            lines.append(
                f"“{ASKED[part.part.kind]}” Never chosen, or always: {', '.join(extremes)}. Such a strength rests on "
                "the half vote that is added and has no interval; that of the share is Wilson's."
            )
        if part.raters < 5 or len(part.part.photos) < 5:
            lines.append(
                f"“{ASKED[part.part.kind]}” {part.raters} rater{'s' * (part.raters != 1)}, {len(part.part.photos)} "
                f"photo{'s' * (len(part.part.photos) != 1)}: too few for the intervals to be relied on."
            )
    return lines


def _section(result: StudyResult, part: PartResult, plots: tuple[str, str], images: Path) -> str:
    methods = result.study.methods
    ranking, duels = plots
    return (
        f"<section><h2>{ASKED[part.part.kind]}</h2>"
        f'<p class="lead">{_summary(part, methods)}</p>'
        f'<div class="card">{ranking}</div>'
        f'<div class="card">{_table(part, methods)}</div>'
        f'<div class="columns"><div class="card duels"><h3>One against one</h3>{duels}<p class="soft">How often, in '
        "percent, the method on the left would be preferred to the one above. Bold: the 95 % interval leaves out 50."
        "</p></div>"
        f'<div class="card"><h3>Agreement</h3>{_agreement(part.agreement)}<h3>Places on the page</h3>'
        f"{_positions(result, part)}</div></div>"
        f"<details><summary>Photo by photo</summary>{_photos(result.study, part, images)}</details></section>"
    )


def _summary(part: PartResult, methods: tuple[str, ...]) -> str:
    found, first = part.preferences, part.ranking[0]
    share = found.shares[first]
    unsure = [methods[j] for j in part.ranking[1:] if found.beats[first][j].low <= 0.5]
    text = (
        f"<b>{html.escape(methods[first])}</b> was chosen in {_percent(share.value)} of {found.offered[first]} votes "
        f"(95 % interval {_percent(share.low, '')} to {_percent(share.high)}; blind choice "
        f"{_percent(found.chance[first])})"
    )
    if not unsure:
        return f"{text} and is preferred to every other method."
    return f"{text}. Whether it is preferred to {html.escape(_listed(unsure))} is not settled by these votes."


def _table(part: PartResult, methods: tuple[str, ...]) -> str:
    found = part.preferences
    rows = []
    for place, i in enumerate(part.ranking, 1):
        low, high = round(found.ranks[i].low), round(found.ranks[i].high)
        ranks = f"{low} – {high}" if low != high else str(low)
        cells = (
            f"{place}<small>{ranks}</small>",
            f"{found.votes[i]}<small>of {found.offered[i]}</small>",
            _with_interval(found.shares[i], _percent),
            f"{_percent(found.wilson[i].low, '')} – {_percent(found.wilson[i].high)}",
            _with_interval(found.strengths[i], lambda value: f"{value:+.2f}".replace("-", "−")),
        )
        rows.append(f"<tr><th>{html.escape(methods[i])}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("method", "rank", "votes", "share", "Wilson", "log strength"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _agreement(agreement: Agreement | None) -> str:
    if agreement is None:
        return '<p class="soft">No two raters answered the same question.</p>'
    rows = [
        (
            "Two raters choose alike",
            f"{_percent(agreement.observed)}<small>by chance {_percent(agreement.chance)}</small>",
        ),
        ("Krippendorff's α", _with_interval(agreement.alpha, lambda value: f"{value:.2f}".replace("-", "−"))),
        ("Fleiss' κ", "–" if agreement.kappa is None else f"{agreement.kappa:.2f}".replace("-", "−")),
    ]
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{value}</td></tr>' for name, value in rows)}</table>"


def _positions(result: StudyResult, part: PartResult) -> str:
    """Which places were chosen how often: sides are random, so all should be about alike."""
    mine = [
        answer for answer in result.answers if answer.part == part.part.kind and answer.counted and not answer.check
    ]
    places = max(len(answer.offered) for answer in mine)
    bars = []
    for place in range(1, places + 1):
        share = sum(answer.position == place for answer in mine) / len(mine)
        bars.append(
            f'<div class="place"><span>{"ABCDEFGHI"[place - 1]}</span><u><i style="width:{100 * share:.1f}%"></i></u>'
            f"<b>{_percent(share)}</b></div>"
        )
    blind = f'<p class="soft">Chosen in each place; blind: {_percent(1 / places)}.</p>'
    return f'<div class="places">{"".join(bars)}</div>{blind}'


def _photos(study: Study, part: PartResult, images: Path) -> str:
    """Every photo with all its pictures, and how many votes each got."""
    shown: dict[str, dict[str, str]] = {}
    sources: dict[str, Question] = {}
    for question in part.part.questions:
        if not question.is_check:
            sources[question.photo] = question
            shown.setdefault(question.photo, {}).update(
                {name: picture for picture, name in question.candidates.items()}
            )
    blocks = []
    for photo, votes in part.by_photo.items():
        most, total = max(votes.values(), default=0), votes.total()
        name = "reference" if part.part.kind == "closest" else "photo, enlarged"
        figures = [_figure(images, sources[photo].source, name, "")]
        for i in part.ranking:
            method = study.methods[i]
            count = votes[method]
            share = 100 * count / total if total else 0
            bar = f'<div class="bar"><i style="width:{share:.0f}%"></i></div><span>{count}</span>'
            figures.append(_figure(images, shown[photo][method], method, bar, most > 0 and count == most))
        blocks.append(
            f'<div class="photo"><h4>{html.escape(photo)}</h4><div class="strip">{"".join(figures)}</div></div>'
        )
    return "".join(blocks)


def _figure(images: Path, picture: str, name: str, bar: str, best: bool = False) -> str:
    path = images / f"{picture}.webp"
    try:
        image = Image.open(path)
        image.load()
    except (OSError, ValueError) as error:
        raise SeesrError(f"{path}: this picture of the study is gone or damaged; restore it") from error
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=_QUALITY)
    source = f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
    mark = ' class="most"' if best else ""
    name = html.escape(name)
    return (
        f'<figure{mark}><img src="{source}" alt="{name}" width="{image.width}" height="{image.height}" loading="lazy">'
        f'<figcaption>{name}<div class="count">{bar}</div></figcaption></figure>'
    )


def _raters(result: StudyResult) -> str:
    rows = []
    for rater in result.raters:
        if not rater.votes + rater.checks:
            continue
        cells = (
            "yes" if rater.counted else "no",
            f"{rater.votes}{'' if rater.finished else ' (not finished)'}",
            f"{rater.passed} of {rater.checks}",
            "–" if rater.seconds is None else f"{rater.seconds:.1f}",
            "–" if rater.agreement is None else _percent(rater.agreement),
        )
        mark = "" if rater.counted else ' class="out"'
        rows.append(f"<tr{mark}><th>{html.escape(rater.name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    names = ("rater", "counted", "votes", "checks passed", "median s / vote", "votes as most others")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _protocol(result: StudyResult) -> str:
    study = result.study
    each = "the pictures of all methods" if study.mode == "choice" else "those of two methods"
    lines = [
        f"Every question showed {each} without names, in an order drawn from the rater's code, beside the reference or "
        "the photo, enlarged bicubically.",
        f"A rater who failed more than {result.allowed_failures} attention checks (the good picture among heavily "
        "degraded ones) does not count.",
        "Share: how often a method was chosen where it was offered. Strength: Bradley and Terry's model, for more than "
        "two pictures Luce's, by maximum likelihood with half a vote added to every method; mean 0. A difference of "
        "1.1 in strength means to be preferred three times out of four.",
        f"Intervals: 95 % percentile bootstrap, raters and photos resampled independently, {RESAMPLES} resamples, "
        f"seed {SEED}; of α over photos. Wilson's interval of the share takes all votes for independent and is too "
        "narrow where they are not. They are not adjusted for the number of comparisons.",
        f"Study {study.id}, evaluated by seesr {seesr.__version__}.",
    ]
    return "".join(f"<li>{html.escape(line)}</li>" for line in lines)


def _with_interval(interval: Interval, show: Any) -> str:
    if not math.isfinite(interval.value):
        return "–"
    if not math.isfinite(interval.low):
        return str(show(interval.value))
    return f"{show(interval.value)}<small>{show(interval.low)} – {show(interval.high)}</small>"


def _percent(value: float, unit: str = " %") -> str:
    return f"{100 * value:.1f}{unit}"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
