"""The thread that owns a capture: opens it, reads it, closes it, and opens it again after a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from perception.camera.capture import Capture, Picture
from perception.core.errors import SourceError


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call into a driver: the seconds after which it counts as hung, None for never, and what to say then."""

    limit_s: float | None
    fault: SourceError


@dataclass(frozen=True, slots=True)
class Calls:
    """The three driver calls in the life of a capture."""

    opening: Call
    reading: Call
    closing: Call


class Listener(Protocol):
    """Receives the events of a capture thread. Those of a thread that was stopped have no effect."""

    def attempt(self, thread: CaptureThread) -> None: ...

    def opened(self, thread: CaptureThread) -> None: ...

    def wait_for_room(self) -> None: ...

    def accept(self, thread: CaptureThread, picture: Picture, capture: Capture) -> None: ...

    def trouble(self, thread: CaptureThread, fault: SourceError) -> float: ...

    def ended(self, thread: CaptureThread, reason: Exception) -> None: ...


class CaptureThread:
    """Reads one source until it ends or the thread is stopped.

    A thread that hangs in a driver cannot be ended. It is stopped and left behind, and releases the capture itself
    if the driver ever returns. `steps` grows with each call and each picture; `call` is the call that the thread is
    in, None while it pauses.
    """

    def __init__(
        self, open_capture: Callable[[], Capture], listener: Listener, calls: Calls, pause_s: float = 0.0
    ) -> None:
        """pause_s: before the first attempt to open."""
        self.steps = 0
        self.call: Call | None = None
        self._open_capture = open_capture
        self._listener = listener
        self._calls = calls
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(pause_s,), name="reader", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """True once the thread was told to end."""
        return self._stop.is_set()

    @property
    def alive(self) -> bool:
        """True until the thread has ended."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Tell the thread to end as soon as it can."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout_s)

    def _run(self, pause_s: float) -> None:
        try:
            while not self._stop.wait(pause_s):
                pause_s = self._attempt()
                self._begin(None)
        except Exception as reason:  # the main thread raises it: no thread ends silently
            self._listener.ended(self, reason)

    def _begin(self, call: Call | None) -> None:
        self.steps += 1  # first, so that the time before is never counted against this call
        self.call = call

    def _attempt(self) -> float:
        """Open and read until the source is lost. Return the seconds until the next attempt."""
        self._listener.attempt(self)
        self._begin(self._calls.opening)
        try:
            capture = self._open_capture()
        except SourceError as fault:
            return self._listener.trouble(self, fault)
        try:
            self._listener.opened(self)
            self._read(capture)
        except SourceError as fault:
            return self._listener.trouble(self, fault)
        finally:  # before the pause: a lost device is not held open
            self._begin(self._calls.closing)
            capture.close()
        return 0.0

    def _read(self, capture: Capture) -> None:
        while not self.stopped:
            self._begin(None)
            self._listener.wait_for_room()
            self._begin(self._calls.reading)
            picture = capture.read()
            while picture is None and not self.stopped:  # nothing yet is no step: a silent source must not seem alive
                picture = capture.read()
            if picture is not None:
                self._listener.accept(self, picture, capture)
