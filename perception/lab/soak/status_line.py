"""The status of a running soak on stderr: one changing line on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TextColumn, TimeRemainingColumn

from perception.lab.soak.watched_pilot import WatchedPilot
from perception.workshop.latency.table import duration

LINE_S = 300.0


class StatusLine:
    """The line. A context manager."""

    def __init__(self, total_s: float) -> None:
        """total_s: how long the soak is to last."""
        self._total_s = total_s
        self._began = time.monotonic()
        self._line_at = self._began + LINE_S
        self._bar = Bar(
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._shown = sys.stderr.isatty()
        self._task = self._bar.add_task("", total=total_s)

    def __enter__(self) -> StatusLine:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()

    def show(self, watched: Sequence[WatchedPilot]) -> None:
        """Show the status; cheap enough for every turn."""
        now = time.monotonic()
        if self._shown:
            self._bar.update(self._task, completed=now - self._began, description=line(watched))
        elif now >= self._line_at:
            self._line_at = now + LINE_S
            sys.stderr.write(f"{duration(now - self._began)} of {duration(self._total_s)} | {line(watched)}\n")


def line(watched: Sequence[WatchedPilot]) -> str:
    """Return the status of each pilot in a few words."""
    return " | ".join(_words(one) for one in watched)


def _words(one: WatchedPilot) -> str:
    if not one.running:
        return f"{one.name} ended"
    parts = [one.name, f"{one.pilot.log.frames:,} frames"]
    if one.samples:
        last = one.samples[-1]
        parts.append(f"{last.memory_mib:.0f} MiB {last.threads} threads {last.descriptors} fds")
    if restarts := one.recoveries():
        parts.append(f"{sum(one.took_s is not None for one in restarts)}/{len(restarts)} back")
    return " ".join(parts)
