"""A progress bar on stderr, where that is a terminal, that also ends the work when a stop is requested."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from perception.core.errors import PilotError
from perception.system.stop import StopFlag


class Interrupted(PilotError):
    """A stop was requested."""

    exit_code = 130  # as a shell tells of Ctrl-C


class ProgressBar:
    """The bar. A context manager."""

    def __init__(self, stop: StopFlag) -> None:
        self._stop = stop
        console = Console(stderr=True)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(
            TextColumn("{task.description}", markup=False), *columns, console=console, transient=True,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, what: str, total: int) -> None:
        """Begin a phase of `total` steps, 0 where the number is not known."""
        self._bar.reset(self._task, description=what, total=total or None)

    def step(self) -> None:
        """Count a step. Raises Interrupted where a stop was requested."""
        self._bar.advance(self._task)
        self.check_stop()

    def check_stop(self) -> None:
        """Raise Interrupted where a stop was requested."""
        if self._stop.requested:
            raise Interrupted("Stopped: no calibration set was written, and what was there is untouched")
