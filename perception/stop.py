"""The wish to end: set by a signal, looked at by the loop."""

from __future__ import annotations

import signal
from types import FrameType


class StopFlag:
    """Turns true at SIGINT or SIGTERM; a second signal changes nothing, so that nothing is left half written."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Installs the handlers; to be called in the main thread."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, stack: FrameType | None) -> None:
        # A plain attribute: an Event takes a lock, and the interrupted code may hold that very lock.
        self.requested = True
