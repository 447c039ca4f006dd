"""What the terminal shows of a command: messages, one bar for the files, one for what is done to the current one."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from seesr.restoration.outputs import Progress as Event
from seesr.system.shown import shown

console = Console(stderr=True, highlight=False)
"""Messages and bars; results that another program may read go to standard output."""

_STAGES = {
    "tags": "looking",
    "enlarge": "enlarging",
    "encode": "encoding",
    "denoise": "denoising",
    "decode": "decoding",
}
_WIDTH = 24  # columns of a name beside its bar


def say(line: object, style: str = "", to: Console = console) -> None:
    """Print a message as it is: nothing in it is markup, and nothing reaches the terminal unseen.

    A terminal gets it wrapped between words, a file or a pipe in one line.
    """
    to.print(Text(shown(line), style=style, overflow="fold"), soft_wrap=not to.is_terminal)


def plain_text(template: str = "{task.description}") -> TextColumn:
    """A column of a bar for text that may hold names: square brackets are no markup."""
    return TextColumn(template, markup=False)


class RestorationBars:
    """Bars for a run over `files` photos; a context manager. Pass `on_event` to the pipeline as its callback."""

    def __init__(self, files: int) -> None:
        self._bars = Progress(
            plain_text(f"{{task.description:<{_WIDTH}}}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            expand=True,
            disable=not console.is_terminal,  # into a file or a pipe go the results alone
        )
        self._total = files
        self._files = self._bars.add_task("photos", total=files, visible=files > 1)
        self._stage = self._bars.add_task("", total=None)
        self._current = ""
        self._name = ""

    def __enter__(self) -> "RestorationBars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, name: str) -> None:
        """A new photo, by name."""
        self._current, self._name = "", _short(shown(name))
        self._bars.reset(self._stage, description=self._name, total=None)

    def finish(self) -> None:
        """A photo is done, or given up."""
        self._bars.advance(self._files)

    def drop(self) -> None:
        """A photo needs no work: the time left is that of the others."""
        self._total -= 1
        self._bars.update(self._files, total=self._total)

    def say(self, line: str, style: str = "") -> None:
        """Print a line above the bars."""
        say(line, style)

    def on_event(self, event: Event) -> None:
        if event.stage != self._current:
            self._current = event.stage
            stage = _STAGES.get(event.stage, event.stage)
            name = _short(self._name, _WIDTH - len(stage) - 1)
            self._bars.reset(self._stage, description=f"{stage} {name}", total=event.total)
        self._bars.update(self._stage, completed=event.done, total=event.total)


def _short(name: str, width: int = _WIDTH) -> str:
    """A name in `width` columns: its beginning and its end."""
    if len(name) <= width:
        return name
    end = min(8, width // 2)
    return f"{name[: width - end - 1]}…{name[-end:]}"
