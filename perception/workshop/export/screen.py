"""Shows an export to the user: bars on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from perception.core.redact import printable
from perception.workshop.accuracy.table import console as wide_console

LINE_S = 10.0
"""Between two lines on the progress of one thing, where there is no terminal."""


class _Count(ProgressColumn):
    """The count of steps and their total; empty where the total is unknown."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}", style="progress.download")


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None or task.total is None else f"{speed:.1f}/s", style="progress.data.speed")


class Screen:
    """Takes the events of the stages. A context manager; `say` may be called at any time.

    clock: monotonic seconds.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or wide_console()
        self._clock = clock
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Count(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stage = ""
        self._stage_at = 0.0
        self._line_at: dict[str, float] = {}

    def __enter__(self) -> Screen:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_stage()
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        text = "\n".join(map(printable, text.split("\n")))  # names of files, words of libraries
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, table: Table) -> None:
        """Print a table that stays."""
        self._console.print(table)

    def event(self, event: Mapping[str, Any]) -> None:
        """Show an event of a stage: see perception/workshop/stage.py. An unknown kind is left out."""
        kind = event.get("event")
        if kind == "say":
            self.say(str(event.get("text", "")))
        elif kind == "stage":
            self._begin_stage(str(event.get("name", "")))
        elif kind == "progress":
            self._progress(str(event.get("what", "")), int(event.get("done", 0)), int(event.get("of", 0)))

    def _begin_stage(self, name: str) -> None:
        self.end_stage()
        self._stage, self._stage_at = name, self._clock()
        if not self._console.is_terminal:
            self.say(f"{name} ...")
        self._tasks[name] = self._bars.add_task(name, total=None)

    def end_stage(self) -> None:
        """End the stage; a line tells the time it took, from a second on."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
        self._line_at.clear()
        took_s, name = self._clock() - self._stage_at, self._stage
        self._stage = ""
        if name and took_s >= 1:
            self.say(f"{name}: {took_s:.0f} s")

    def _progress(self, what: str, done: int, of: int) -> None:
        task = self._tasks.get(what)
        if task is None:
            task = self._tasks[what] = self._bars.add_task(what, total=of or None)
        self._bars.update(task, completed=done, total=of or None)
        if 0 < of <= done:
            self._bars.update(task, visible=False)
        if not self._console.is_terminal:
            self._line(what, done, of)

    def _line(self, what: str, done: int, of: int) -> None:
        now = self._clock()
        started = self._line_at.setdefault(f"{what} began", now)
        if now - self._line_at.get(what, started) < LINE_S and not (done >= of and now - started >= LINE_S):
            return
        self._line_at[what] = now
        rate = done / (now - started) if now > started else 0.0
        left = f", {(of - done) / rate:.0f} s left" if rate and done < of else ""
        self.say(f"{what}: {done} of {of} ({rate:.1f}/s{left})")
