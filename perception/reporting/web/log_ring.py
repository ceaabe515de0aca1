"""The last lines of the log, for the page. The line of each frame is not among them: it does not go through loguru."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from loguru import logger

from perception.reporting.web.facts import LogLine

if TYPE_CHECKING:
    from loguru import Message

LINES = 200
CHARACTERS = 600


class LogRing:
    """A sink of loguru that keeps the last lines. Reading is for any thread."""

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
        """Oldest first."""
        return tuple(self._lines)

    def close(self) -> None:
        """Listens no more."""
        with suppress(ValueError):  # logging was set up anew since
            logger.remove(self._handle)
