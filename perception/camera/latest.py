"""The reader: one thread that owns the capture, and a one-slot mailbox between it and the pilot.

Of a live source the newest picture wins and the ones it replaces show as gaps in the frame ids; a finite source waits
until its picture was taken, so that each arrives in order, exactly once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from loguru import logger

from perception.camera.capture import Capture, Picture
from perception.camera.uri import SourceUri
from perception.config import SourceSettings
from perception.errors import EndOfStream, SourceError
from perception.frame import Frame, Image

BACKOFF_S = (1.0, 30.0)
REMIND_S = 60.0
CLOSE_S = 1.0

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One slot between one sender and one receiver."""

    def __init__(self, newest_wins: bool) -> None:
        self._newest_wins = newest_wins
        self._changed = threading.Condition()
        self._item: T | None = None
        self._end: BaseException | None = None
        self._closed = False

    def wait_for_room(self) -> None:
        """Where the newest does not win, waits until the slot is empty, so that nothing is read long before its use."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest_wins or self._item is None or self._closed)

    def put(self, item: T) -> None:
        """Leaves `item` in the slot, in place of an older one."""
        with self._changed:
            self._item = item
            self._changed.notify_all()

    def take(self, timeout_s: float) -> T | None:
        """The item, or None where none came within timeout_s. After the last one raises what `end` was given."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._end is not None, timeout_s)
            item, self._item = self._item, None
            self._changed.notify_all()
            if item is None and self._end is not None:
                raise self._end
            return item

    def end(self, reason: BaseException) -> None:
        """No more items; the receiver gets the one in the slot first, then `reason` raised."""
        with self._changed:
            self._end = reason
            self._changed.notify_all()

    def close(self) -> None:
        """Lets a waiting sender go: nobody receives any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class RepeatWatch:
    """Tells pictures that are new from a dead source's last one, delivered again with success status."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: Image | None = None
        self._new_at: float | None = None

    def reopened(self) -> None:
        """The source has the whole limit again to bring something new; what it showed before stays old."""
        self._new_at = None

    def is_new(self, picture: Picture) -> bool:
        """Whether the picture differs from the last one. SourceError once it has not for longer than the limit."""
        last, self._last = self._last, picture.image
        if not self._limit_s or last is None or not _equal(last, picture.image):
            self._new_at = picture.captured_at
            return True
        if self._new_at is None:
            self._new_at = picture.captured_at
        if picture.captured_at - self._new_at > self._limit_s:
            raise SourceError(f"it repeats one picture for {self._limit_s:g} s (source.repeat_s)")
        return False


def _equal(one: Image, other: Image) -> bool:
    # A sparse grid tells nearly all pictures apart at a thousandth of the cost of the whole comparison.
    return np.array_equal(one[::16, ::16], other[::16, ::16]) and np.array_equal(one, other)


class Reader:
    """Frames of one source. `read` and `close` belong to the main thread; the capture to the reader's own."""

    def __init__(self, uri: SourceUri, open_capture: Callable[[], Capture], settings: SourceSettings) -> None:
        self.uri = uri
        self.captured = 0  # pictures so far, written by the reader's thread alone
        self._open_capture = open_capture
        self._mailbox: Mailbox[Frame] = Mailbox(newest_wins=uri.live)
        self._watch = RepeatWatch(settings.repeat_s if uri.camera else 0)
        self._outage = Outage(uri, waits=settings.wait)
        self._live = False
        self._settled = threading.Event()  # it is open, or will never be
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_open(self, timeout_s: float) -> bool:
        """Whether the source is open, waited for up to timeout_s. SourceError where it could not be opened at all."""
        if self._settled.wait(timeout_s) and not self._live:
            self._mailbox.take(0)
        return self._live

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; None where none came within timeout_s, also while a lost camera is being reopened.

        Raises EndOfStream after the last frame, SourceError where the source is gone for good.
        """
        return self._mailbox.take(timeout_s)

    def close(self) -> bool:
        """Ends the thread. False where it hangs in a driver: the process must then leave without it."""
        self._closing.set()
        self._mailbox.close()
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._run_until_closed()
        except EndOfStream as end:
            self._mailbox.end(end)
        except Exception as fault:  # the main thread raises it: a fault in a thread must not pass in silence
            self._mailbox.end(fault)
        finally:
            self._settled.set()

    def _run_until_closed(self) -> None:
        while not self._closing.is_set():
            try:
                capture = self._open_capture()
            except SourceError as fault:
                self._closing.wait(self._outage.failed(fault))
                continue
            pause_s = 0.0
            try:
                self._outage.over(capture.summary)
                self._live = True
                self._settled.set()
                self._deliver(capture)
            except SourceError as fault:
                if not self.uri.camera:
                    raise
                pause_s = self._outage.lost(fault)
            finally:
                capture.close()  # before the pause: what is lost is not held
            self._closing.wait(pause_s)

    def _deliver(self, capture: Capture) -> None:
        self._watch.reopened()
        while not self._closing.is_set():
            self._mailbox.wait_for_room()
            picture = capture.read()
            if picture is None or not self._watch.is_new(picture):
                continue
            self._outage.delivered()
            frame = Frame(picture.image, self.captured, picture.captured_at, self.uri.label, picture.truth, capture.fps)
            self.captured += 1
            self._mailbox.put(frame)


class Outage:
    """What to say, and how long to wait, while a source is not there: starting, live, lost, reconnecting."""

    def __init__(self, uri: SourceUri, waits: bool, random_source: random.Random | None = None) -> None:
        self._uri = uri
        self._waits = waits
        self._random = random_source or random.Random()
        self._was_live = False
        self._failures = 0
        self._since = time.monotonic()
        self._said_at = -REMIND_S

    def failed(self, fault: SourceError) -> float:
        """An attempt to open failed: seconds until the next. Raises `fault` where a first attempt is the only one."""
        if not self._was_live and not (self._waits and self._uri.camera):
            raise fault
        now = time.monotonic()
        if now - self._said_at >= REMIND_S:
            self._said_at = now
            state = "reconnecting" if self._was_live else "waiting for camera"
            logger.warning(f"{state}, {now - self._since:.0f} s so far: {fault}")
        return self._next_delay()

    def lost(self, fault: SourceError) -> float:
        """A live source was lost: seconds until the first attempt to reopen it."""
        self._since = time.monotonic()
        self._said_at = self._since
        logger.warning(f"Source lost: {fault.what}. Reconnecting to {self._uri.label}")
        return self._next_delay()

    def over(self, summary: str) -> None:
        """The source is open."""
        away_s = time.monotonic() - self._since
        after = f" after {away_s:.1f} s" if self._was_live or self._failures else ""
        logger.info(f"Source live{after}: {self._uri.label} ({summary})")
        self._was_live = True

    def delivered(self) -> None:
        """A new picture came. Only this ends the back-off: a broken camera may open again and again, and give none."""
        self._failures = 0

    def _next_delay(self) -> float:
        shortest, longest = BACKOFF_S
        delay: float = min(shortest * 2**self._failures, longest) * self._random.uniform(0.8, 1.2)
        self._failures = min(self._failures + 1, 16)
        return min(max(delay, shortest), longest)
