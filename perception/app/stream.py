"""Opens the source of a run, and gives its frames until it ends, the limits are met, or somebody asks to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from perception.camera import OPENERS, open_reader
from perception.camera.capture import Capture, Lend
from perception.camera.feed import POLL_S, Feed
from perception.camera.reader import Reader
from perception.camera.uri import SourceUri
from perception.core.errors import EndOfStream
from perception.core.frame import Frame
from perception.settings.model import RunSettings, SourceSettings
from perception.system.stop import StopFlag


def open_demo(uri: SourceUri, _: object = None) -> Capture:
    """Open the drive of a demo:// URI. Raises SourceError."""
    from perception.app.demo import DemoDrive  # two dozen modules that only a demo needs

    return DemoDrive(uri)


def open_source(settings: SourceSettings, lend: Lend | None = None) -> Reader:
    """Return the source of `settings.uri`, be it one of camera's or the demo: see camera.open_reader."""
    return open_reader(settings, {**OPENERS, "demo": open_demo}, lend)


def wait_until_open(source: Reader | Feed, stop: StopFlag, turn: Callable[[], None] = lambda: None) -> bool:
    """Wait for the source to open; False where a stop was asked for first. turn: called at each check.

    Raises SourceError where it cannot be opened.
    """
    while not source.is_open(POLL_S):
        turn()
        if stop.requested:
            return False
    return True


def frames(
    source: Reader | Feed,
    limits: RunSettings,
    stop: StopFlag,
    clock: Callable[[], float] = time.monotonic,
    turn: Callable[[], None] = lambda: None,
) -> Iterator[Frame]:
    """Yield each frame of the source. turn: called before each wait for a frame.

    Raises SourceError where the source cannot be opened or is gone for good.
    """
    if not wait_until_open(source, stop, turn):
        return
    ends_at = clock() + limits.duration_s if limits.duration_s else float("inf")
    left = limits.max_frames or -1
    while left and not stop.requested and clock() < ends_at:
        turn()
        try:
            frame = source.read(POLL_S)
        except EndOfStream:
            return
        if frame is not None:
            left -= 1
            yield frame
