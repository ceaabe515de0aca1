"""Requests that come as signals: to end, and to read the settings again. The loop looks at them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


class Stopped(BaseException):
    """A stop was asked for during `StopFlag.at_once`. No Exception, so that no start-up step takes it for a fault."""


class StopFlag:
    """Turns true at SIGINT or SIGTERM; a second signal changes nothing, so that nothing is left half written.

    SIGHUP asks for the settings to be read again, unless it tells that the terminal was closed: that is a wish to end.
    """

    def __init__(self) -> None:
        self.requested = False
        self._reload = False
        self._at_once = False
        self._terminal = False

    def listen(self) -> None:
        """Install the handlers; to be called in the main thread."""
        self._terminal = _has_terminal()
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(signal.SIGHUP, self._hang_up)

    def take_reload(self) -> bool:
        """Return True if SIGHUP asked for the settings to be read again since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def at_once(self, start: Callable[[A], T], argument: A) -> T:
        """Return `start(argument)`; a stop interrupts it by raising Stopped. For a start-up."""
        self._at_once = True
        try:
            if self.requested:
                raise Stopped
            return start(argument)
        except Exception as fault:
            if self.requested:  # the import of a native library makes an ImportError of what interrupts it
                raise Stopped from fault
            raise
        finally:
            self._at_once = False

    def _stop(self, number: int, stack: FrameType | None) -> None:
        # A plain attribute: an Event takes a lock, and the interrupted code may hold that very lock.
        self.requested = True
        if self._at_once:
            self._at_once = False
            raise Stopped

    def _hang_up(self, number: int, stack: FrameType | None) -> None:
        if self._terminal and not _has_terminal():  # nobody is left who could end a pilot that holds the camera
            self._stop(number, stack)
        else:
            self._reload = True


def _has_terminal() -> bool:
    """Return True if the process has a controlling terminal, which it loses when that is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
