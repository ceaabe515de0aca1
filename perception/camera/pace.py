"""Keeps a file or the drive at its own rate, as a camera would."""

from __future__ import annotations

import time


class Pace:
    """Holds each picture back until its turn. rate: pictures a second; 0 holds nothing back."""

    def __init__(self, rate: float) -> None:
        self._period_s = 1 / rate if rate else 0.0
        self._due = time.monotonic()

    def wait(self) -> None:
        """Sleeps until the next picture is due. A reader that fell behind by more than one catches up no further."""
        if self._period_s:
            self._due = max(self._due + self._period_s, time.monotonic() - self._period_s)
            time.sleep(max(self._due - time.monotonic(), 0))
