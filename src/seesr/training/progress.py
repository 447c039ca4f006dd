"""Progress of a training run: a bar on a terminal, a line now and then in a log file."""

import logging
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

logger = logging.getLogger(__name__)


class ProgressLog:
    """Shows step, loss, images per second and time left. A context manager.

    total, done: steps in all, and steps done before; seconds: between two lines where there is no terminal.
    """

    def __init__(self, total: int, done: int, seconds: float, visible: bool):
        self.total, self.done, self.seconds = total, done, seconds
        self.rate = 0.0  # images per second since the start
        self._images = self._steps = 0
        self._started = self._logged = time.monotonic()
        console = Console(stderr=True)
        self._visible = visible
        self._bar: Bar | None = None
        if visible and console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Bar(*columns, console=console)
            self._task = self._bar.add_task("", total=total, completed=done)

    def __enter__(self) -> "ProgressLog":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, images: int, loss: float, skipped: int) -> None:
        """One more step of so many images; `skipped` counts the steps whose gradient was not finite."""
        self.done += 1
        self._steps += 1
        self._images += images
        now = time.monotonic()
        self.rate = self._images / (now - self._started)
        text = f"loss {loss:.4f}, {self.rate:.2f} images/s" + (f", {skipped} steps skipped" if skipped else "")
        if self._bar:
            self._bar.update(self._task, completed=self.done, description=text)
        elif self._visible and now - self._logged >= self.seconds:
            self._logged = now
            left = (self.total - self.done) * (now - self._started) / self._steps / 60
            logger.info("step %d/%d, %s, %.0f min left", self.done, self.total, text, left)
