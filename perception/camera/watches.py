"""Detects a live source that died without an error: it repeats its last picture, or its driver never returns."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from perception.camera.capture import Picture
from perception.core.errors import SourceError
from perception.core.frame import Image

LONGEST_GAP_S = 1.0


class RepeatWatch:
    """Tells pictures that are new from a dead source's last one, delivered again with success status.

    Equal pictures are new where the stream's own clock goes on between them: a codec repeats a still scene to the bit.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: Image | None = None
        self._position_ms: float | None = None
        self._new_at: float | None = None

    def reopened(self) -> None:
        """Restart the time limit; the picture from before still counts as old."""
        self._new_at = self._position_ms = None

    def is_new(self, picture: Picture) -> bool:
        """Return True for another picture than the last. SourceError after equal ones for longer than the limit."""
        last, self._last = self._last, picture.image
        goes_on = self._goes_on(picture.position_ms)
        if not self._limit_s or last is None or goes_on or not _equal(last, picture.image):
            self._new_at = picture.captured_at
            return True
        if self._new_at is None:
            self._new_at = picture.captured_at
        if picture.captured_at - self._new_at > self._limit_s:
            raise SourceError(f"it repeats one picture for {self._limit_s:g} s (source.repeat_s)")
        return False

    def _goes_on(self, position_ms: float | None) -> bool:
        before, self._position_ms = self._position_ms, position_ms
        return before is not None and position_ms is not None and position_ms > before


def _equal(one: Image, other: Image) -> bool:
    # A sparse grid tells nearly all pictures apart at a thousandth of the cost of the whole comparison.
    return np.array_equal(one[::16, ::16], other[::16, ::16]) and np.array_equal(one, other)


class SilenceWatch:
    """Tells how long a thread has made no step, in seconds during which this process ran.

    The time between two calls counts for a second at most: a process that was stopped (SIGSTOP, a suspended machine)
    finds its clock far ahead, and the thread has had no chance to move either.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps = -1
        self._called_at = 0.0
        self._silent_s = 0.0

    def silent_s(self, steps: int) -> float:
        """Return the seconds without a step; call it repeatedly with the number of steps that the thread has made."""
        now = self._clock()
        self._silent_s = self._silent_s + min(now - self._called_at, LONGEST_GAP_S) if steps == self._steps else 0.0
        self._steps, self._called_at = steps, now
        return self._silent_s
