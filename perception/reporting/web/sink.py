"""Where the loop leaves what it knows for the page: a slot for the newest picture, and a queue of figures.

All that the loop pays is two assignments and an append; whatever is made of it is made in the thread of the server.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from perception.core.frame import BoardSnapshot, Report, Result

QUEUE_FRAMES = 16_384
"""More than a minute at 240 fps. The server empties the queue every second; where it hangs, the oldest figures go."""


class Measured(NamedTuple):
    """The figures of one frame. ended_at: monotonic seconds, when its vehicles were known."""

    ended_at: float
    result: Result
    dropped: int
    class_names: Mapping[int, str]


class WebSink:
    """One thread writes; `take_report` and `take_measured` belong to the server's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: monotonic seconds."""
        self._clock = clock
        self._report: Report | None = None
        self._queue: deque[Measured] = deque(maxlen=QUEUE_FRAMES)
        self._wanted = False
        self.turned_at = clock()
        self.board: BoardSnapshot | None = None

    def write(self, report: Report) -> None:
        """Leaves the figures behind, and the report with its picture where one was asked for."""
        result = report.result
        ended_at = report.frame.captured_at + result.age_ms / 1000
        self._queue.append(Measured(ended_at, result, report.dropped, report.backend.class_names))
        if self._wanted:
            self._report = report
            self._wanted = False

    def turn(self, board: BoardSnapshot | None) -> None:
        """The loop turns, with or without a frame."""
        self.turned_at = self._clock()
        self.board = board

    def ask(self) -> None:
        """Asks for the next report. One at a time: its picture may be a lent one, and must not be held for long."""
        self._wanted = True

    def forget(self) -> None:
        """Asks for none any more."""
        self._wanted = False
        self._report = None

    @property
    def has_report(self) -> bool:
        """Whether it came."""
        return self._report is not None

    def take_report(self) -> Report | None:
        """The report that was asked for, once; None while it has not come."""
        report, self._report = self._report, None
        return report

    def take_measured(self) -> list[Measured]:
        """The figures of all frames since the last call."""
        return [self._queue.popleft() for _ in range(len(self._queue))]
