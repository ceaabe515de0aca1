"""The wish to end: set by a signal, looked at by the loop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


class Stopped(BaseException):
    """A stop was asked for during `StopFlag.at_once`. No Exception, lest a step of the start-up take it for a fault."""


class StopFlag:
    """Turns true at SIGINT or SIGTERM; a second signal changes nothing, so that nothing is left half written."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    def listen(self) -> None:
        """Installs the handlers; to be called in the main thread."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def at_once(self, start: Callable[[A], T], argument: A) -> T:
        """What `start(argument)` gives; a stop interrupts it by raising Stopped. For a start-up."""
        self._at_once = True
        try:
            if self.requested:
                raise Stopped
            return start(argument)
        finally:
            self._at_once = False

    def _handle(self, number: int, stack: FrameType | None) -> None:
        # A plain attribute: an Event takes a lock, and the interrupted code may hold that very lock.
        self.requested = True
        if self._at_once:
            self._at_once = False
            raise Stopped
