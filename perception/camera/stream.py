"""The frames of a source, until it ends, the run's limits are met, or somebody asks to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from perception.camera.latest import Reader
from perception.config import RunSettings, SourceSettings
from perception.errors import EndOfStream, SourceError
from perception.frame import Frame
from perception.stop import StopFlag

LOOK_S = 0.2
"""How often a wait looks at the stop flag; a frame ends the wait at once."""
GRACE_S = 2.0


def wait_until_open(source: Reader, settings: SourceSettings, stop: StopFlag) -> bool:
    """Waits for the source to open; False where a stop was asked for first.

    Raises SourceError where it cannot be opened, or does not answer in time, unless settings.wait lets it.
    """
    # The drivers have the limit itself, and a better reason to give; the grace lets them say it.
    deadline = time.monotonic() + settings.open_timeout_s + GRACE_S
    while not source.is_open(LOOK_S):
        if stop.requested:
            return False
        if time.monotonic() > deadline and not (settings.wait and source.uri.camera):
            raise SourceError(
                f"{source.uri.label} did not open within {settings.open_timeout_s:g} s",
                "Check the camera, or set source.wait: true to wait for it.",
            )
    return True


def frames(
    source: Reader,
    settings: SourceSettings,
    limits: RunSettings,
    stop: StopFlag,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Frame]:
    """Each frame of the source. Raises SourceError where it cannot be opened or is gone for good."""
    if not wait_until_open(source, settings, stop):
        return
    ends_at = clock() + limits.duration_s if limits.duration_s else float("inf")
    left = limits.max_frames or -1
    while left and not stop.requested and clock() < ends_at:
        try:
            frame = source.read(LOOK_S)
        except EndOfStream:
            return
        if frame is not None:
            left -= 1
            yield frame
