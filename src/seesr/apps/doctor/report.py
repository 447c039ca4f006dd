"""What `seesr doctor` found: its lines, and how they are shown."""

from dataclasses import dataclass, field
from typing import Any

OK, ABSENT, PROBLEM = "ok", "absent", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report. state: "absent" is no fault; "problem" is. remedy: what to do, often a command."""

    section: str
    name: str
    state: str
    text: str
    remedy: str = ""


@dataclass
class Report:
    """All findings; `photo` has the figures behind the photo's section."""

    findings: list[Finding] = field(default_factory=list)
    photo: dict[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        return not any(finding.state == PROBLEM for finding in self.findings)

    def add(self, section: str, name: str, state: str, text: str, remedy: str = "") -> None:
        self.findings.append(Finding(section, name, state, text, remedy))


def show(report: Report, model: str) -> None:
    """Print the report in at most 80 columns: one line a finding, what to do about it under it."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False)
    console.width = min(console.width, 80)
    plain = not (console.encoding or "").lower().startswith("utf")
    marks = {
        OK: ("+" if plain else "✓", "green"),
        ABSENT: ("-" if plain else "–", "dim"),
        PROBLEM: ("x" if plain else "✗", "bold red"),
    }
    for section in dict.fromkeys(finding.section for finding in report.findings):
        console.print(Text(section, style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=14, overflow="fold")
        table.add_column(overflow="fold")
        for finding in report.findings:
            if finding.section != section:
                continue
            mark, style = marks[finding.state]
            text = Text(finding.text, style="" if finding.state == OK else style.replace("bold ", ""))
            table.add_row(Text(mark, style=style), finding.name, text)
            if finding.remedy:
                table.add_row("", "", Text(f"{'->' if plain else '→'} {finding.remedy}", style="cyan"))
        console.print(Padding(table, (0, 0, 1, 2)))
    problems = sum(finding.state == PROBLEM for finding in report.findings)
    if problems:
        console.print(Text(f"{counted(problems, 'problem')} to mend before {model} can be used.", style="bold red"))
    else:
        console.print(Text(f"{model} can be used.", style="bold green"))


def counted(count: int, what: str) -> str:
    """`1 tile`, `2 tiles`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def duration(seconds: float) -> str:
    """A time for people: `2 s`, `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def time_span(least: float, most: float) -> str:
    """From `least` to `most` seconds: `2 to 5 s`, `40 s to 3 min`, `2 min` where both read alike."""
    first, last = duration(least), duration(most)
    if first == last:
        return last
    same = first.count(" ") == last.count(" ") == 1 and first.split()[1] == last.split()[1]
    return f"{first.split()[0] if same else first} to {last}"
