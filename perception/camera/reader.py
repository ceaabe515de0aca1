"""The reader: gives the main thread the newest frame of a source, whatever its driver does."""

from __future__ import annotations

import threading
from collections.abc import Callable

from loguru import logger

from perception.camera.capture import Capture, Picture
from perception.camera.capture_thread import Call, Calls, CaptureThread
from perception.camera.mailbox import Mailbox
from perception.camera.outage import Outage
from perception.camera.uri import SourceUri
from perception.camera.watches import RepeatWatch, SilenceWatch
from perception.core.errors import SourceError
from perception.core.frame import Frame
from perception.core.source_state import SourceState
from perception.settings.model import SourceSettings

# By then a driver with a time limit of its own has reported, with a better reason.
OPEN_GRACE_S = 2.0
READ_GRACE_S = 1.0
CLOSING_S = 5.0
JOIN_S = 1.0
MAX_HUNG = 4
"""Threads that may hang in drivers at a time; with one more the process ends, and a new one frees them all."""
HELD_ATTEMPTS = 3
"""Times that a camera may refuse to open while a thread hangs that may hold it."""


class Reader:
    """Frames of one source. `is_open`, `read` and `close` belong to the main thread, the capture to a thread of its
    own. Where that thread hangs in a driver it is left behind, and another one opens the source anew.
    """

    def __init__(self, uri: SourceUri, open_capture: Callable[[], Capture], settings: SourceSettings) -> None:
        self.uri = uri
        self.captured = 0  # pictures so far
        self._open_capture = open_capture
        self._calls = _calls(uri, settings)
        self._mailbox: Mailbox[Frame] = Mailbox(newest_wins=uri.live)
        self._repeats = RepeatWatch(settings.repeat_s if uri.camera else 0)
        self._outage = Outage(uri, waits=settings.wait)
        self._size: tuple[int, int] | None = None
        self._opened = False
        self._settled = threading.Event()  # it is open, or will never be
        # Held by the thread that speaks for the source, and while another takes its place.
        self._turn = threading.Lock()
        self._silence = SilenceWatch()
        self._hung: list[CaptureThread] = []
        self._thread = CaptureThread(open_capture, self, self._calls)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> SourceState:
        """State of the source; for any thread."""
        return self._outage.state

    def is_open(self, timeout_s: float) -> bool:
        """Return True once the source is open; waits up to timeout_s. SourceError where it cannot be opened."""
        self._leave_behind_what_hangs()
        if self._settled.wait(timeout_s) and not self._opened:
            self._mailbox.take(0)
        return self._opened

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame; None where none came within timeout_s, also while a lost camera is being reopened.

        Raises EndOfStream after the last frame, SourceError where the source is gone for good. Call it at
        least once a second: it is what notices a driver that hangs.
        """
        self._leave_behind_what_hangs()
        return self._mailbox.take(timeout_s)

    def close(self) -> bool:
        """End the thread. False where one hangs in a driver: the process must then exit without it."""
        self._thread.stop()
        self._mailbox.close()
        self._thread.join(JOIN_S)
        return not any(thread.alive for thread in (self._thread, *self._hung))

    def _leave_behind_what_hangs(self) -> None:
        thread, call = self._thread, self._thread.call
        steps = thread.steps
        silent_s = self._silence.silent_s(steps)
        if call is None or call.limit_s is None or silent_s <= call.limit_s:
            return
        with self._turn:
            if thread.steps != steps or thread.stopped:  # it moved at the last moment, or was closed
                return
            thread.stop()
            self._hung = [*(other for other in self._hung if other.alive), thread]
            try:
                pause_s = self._pause_after(call.fault)
            except SourceError as fault:
                self._end(fault)
                return
            logger.debug(f"{len(self._hung)} threads hang in the driver of {self.uri.label}")
            self._silence = SilenceWatch()  # the silence of the old thread is not held against this one
            self._thread = CaptureThread(self._open_capture, self, self._calls, pause_s)

    def _pause_after(self, fault: SourceError) -> float:
        """Return the seconds until the next attempt. SourceError where only a new process can help."""
        pause_s = self._outage.trouble(fault)
        hung = sum(thread.alive for thread in self._hung)
        # A network stream takes any number of receivers; another camera may be held by the very thread that hangs.
        held = bool(hung) and self.uri.scheme != "rtsp" and self._outage.failures > HELD_ATTEMPTS
        if hung > MAX_HUNG or held:
            raise SourceError(
                f"{fault.what}, and {hung} {'call hangs' if hung == 1 else 'calls hang'} in the driver of "
                f"{self.uri.label} for good",
                "Only a new process frees it: start the pilot again, as its service does by itself.",
            )
        return pause_s

    def _end(self, reason: Exception) -> None:
        self._mailbox.end(reason)
        self._settled.set()

    # The methods below are called by the capture thread.

    def attempt(self, thread: CaptureThread) -> None:
        """Note that an attempt to open begins."""
        with self._turn:
            if not thread.stopped:
                self._outage.attempt()

    def opened(self, thread: CaptureThread) -> None:
        """Note that the source is open."""
        with self._turn:
            if not thread.stopped:
                self._repeats.reopened()
                self._opened = True
                self._settled.set()

    def wait_for_room(self) -> None:
        """Return when the next picture of a finite source may be read."""
        self._mailbox.wait_for_room()

    def accept(self, thread: CaptureThread, picture: Picture, capture: Capture) -> None:
        """Take a picture. SourceError where it has been the same one for too long."""
        with self._turn:
            if thread.stopped or not self._repeats.is_new(picture):
                return
            self._outage.delivered(capture.summary)
            self._compare_size((picture.image.shape[1], picture.image.shape[0]))
            seen_at, truth = picture.captured_at, picture.truth
            frame = Frame(picture.image, self.captured, seen_at, self.uri.label, truth, capture.fps, self.uri.live)
            self.captured += 1
            self._mailbox.put(frame)

    def _compare_size(self, size: tuple[int, int]) -> None:
        before, self._size = self._size, size
        if self.uri.camera and before and before != size:
            shown = " -> ".join(f"{width}x{height}" for width, height in (before, size))
            logger.warning(f"Pictures of {self.uri.label} have another size: {shown}")

    def trouble(self, thread: CaptureThread, fault: SourceError) -> float:
        """Return the seconds until the next attempt, after a failed one or a loss. Raises where there is none."""
        with self._turn:
            return 0.0 if thread.stopped else self._pause_after(fault)

    def ended(self, thread: CaptureThread, reason: Exception) -> None:
        """Note that the thread ends: with EndOfStream, a permanent fault, or a bug."""
        with self._turn:
            if not thread.stopped:
                self._end(reason)


def _calls(uri: SourceUri, settings: SourceSettings) -> Calls:
    or_wait = "" if settings.wait else ", or set source.wait: true to wait for it"
    opening = SourceError(
        f"{uri.label} did not open within {settings.open_timeout_s:g} s",
        f"Check the camera{or_wait}." if uri.camera else "",
    )
    silent = SourceError(f"nothing came from {uri.label} for {settings.stall_s:g} s (source.stall_s)")
    stuck = SourceError(f"{uri.label} hangs while it is closed")
    return Calls(
        Call(settings.open_timeout_s + OPEN_GRACE_S, opening),
        Call(settings.stall_s + READ_GRACE_S if uri.camera else None, silent),
        Call(CLOSING_S if uri.camera else None, stuck),
    )
