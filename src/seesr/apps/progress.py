"""Progress in the terminal: one bar for the files, one for what is being done to the current one."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from seesr.restoration.outputs import Progress as Event

console = Console(stderr=True, highlight=False)
"""Messages and bars; results that another program may read go to standard output."""

_STAGES = {
    "tags": "looking",
    "enlarge": "enlarging",
    "encode": "encoding",
    "denoise": "denoising",
    "decode": "decoding",
}


class RestorationBars:
    """Bars for a run over `files` photos; a context manager. Pass `on_event` to the pipeline as its callback."""

    def __init__(self, files: int) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # into a file or a pipe go the results alone
        )
        self._files = self._bars.add_task("photos", total=files, visible=files > 1)
        self._stage = self._bars.add_task("", total=None)
        self._current = ""

    def __enter__(self) -> "RestorationBars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, name: str) -> None:
        """A new photo, by name."""
        self._current = ""
        self._bars.reset(self._stage, description=name[:24], total=None)

    def finish(self) -> None:
        """The current photo is done, or given up."""
        self._bars.advance(self._files)

    def say(self, line: str) -> None:
        """Print a line above the bars, unwrapped."""
        console.print(line, soft_wrap=True)

    def on_event(self, event: Event) -> None:
        if event.stage != self._current:
            self._current = event.stage
            self._bars.reset(self._stage, description=_STAGES.get(event.stage, event.stage), total=event.total)
        self._bars.update(self._stage, completed=event.done, total=event.total)
