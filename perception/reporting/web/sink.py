"""The hand-over from pilot to page: a slot for the newest report, a queue of figures, the last lines of the log.

All that the loop pays is two assignments and an append; whatever is made of it is made in the thread of the server.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from loguru import logger

from perception.core.results import BoardSnapshot, Report, Result

if TYPE_CHECKING:
    from loguru import Message

LINES = 200
CHARACTERS = 600
QUEUE_FRAMES = 16_384
"""More than a minute at 240 fps. The server empties the queue every second; if it hangs, the oldest are dropped."""


class Measured(NamedTuple):
    """The figures of one frame. ended_at: monotonic seconds, when its vehicles were known."""

    ended_at: float
    result: Result
    dropped: int
    class_names: Mapping[int, str]


class WebSink:
    """A slot and a queue. One thread writes; `take_report` and `take_measured` belong to the server's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: monotonic seconds."""
        self._clock = clock
        self._report: Report | None = None
        self._queue: deque[Measured] = deque(maxlen=QUEUE_FRAMES)
        self._wanted = False
        self.turned_at = clock()
        self.board: BoardSnapshot | None = None

    def write(self, report: Report) -> None:
        """Leave the figures behind, and the report with its picture where one was asked for."""
        result = report.result
        ended_at = report.frame.captured_at + result.age_ms / 1000
        self._queue.append(Measured(ended_at, result, report.dropped, report.backend.class_names))
        if self._wanted:
            self._report = report
            self._wanted = False

    def turn(self, board: BoardSnapshot | None) -> None:
        """Note that the loop turns, with or without a frame. board: its newest figures."""
        self.turned_at = self._clock()
        self.board = board

    def ask(self) -> None:
        """Ask for the next report. One at a time: its picture may be a lent one, and must not be held for long."""
        self._wanted = True

    def forget(self) -> None:
        """Ask for none any more."""
        self._wanted = False
        self._report = None

    @property
    def has_report(self) -> bool:
        """True once the report that was asked for has come."""
        return self._report is not None

    def take_report(self) -> Report | None:
        """Return the report that was asked for, once; None while it has not come."""
        report, self._report = self._report, None
        return report

    def take_measured(self) -> list[Measured]:
        """Return the figures of all frames since the last call."""
        return [self._queue.popleft() for _ in range(len(self._queue))]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log. at: Unix seconds."""

    number: int
    at: float
    level: str
    text: str


class LogRing:
    """A sink of loguru that keeps the last lines, but not the line of each frame, which does not go through loguru.

    Reading is for any thread.
    """

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=LINES)
        self._number = 0
        self._handle = logger.add(self._take, level="INFO", format="{message}", diagnose=False, backtrace=False)

    def _take(self, message: Message) -> None:
        record = message.record
        text = record["message"]
        if len(text) > CHARACTERS:
            text = f"{text[: CHARACTERS - 3]}..."
        self._number += 1
        self._lines.append(LogLine(self._number, record["time"].timestamp(), record["level"].name, text))

    def lines(self) -> Sequence[LogLine]:
        """Return the lines, oldest first."""
        return tuple(self._lines)

    def close(self) -> None:
        """Listen no more."""
        with suppress(ValueError):  # logging was set up again since
            logger.remove(self._handle)
