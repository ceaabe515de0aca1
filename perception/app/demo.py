"""demo://drive: the synthetic drive as a source, each frame with its truth."""

from __future__ import annotations

import time

from perception.camera.capture import Pace, Picture
from perception.camera.uri import SourceUri
from perception.core.errors import EndOfStream, SourceError
from perception.drive import Drive, DriveSettings


class DemoDrive:
    """Renders the drive as fast as frames are taken; ?realtime=1 at its own rate, ?loop=1 endlessly."""

    def __init__(self, uri: SourceUri) -> None:
        """Raises SourceError for another scene than `drive`, or for settings that the drive does not allow."""
        if uri.target != "drive":
            raise SourceError(f"There is no scene {uri.target!r}", "Write demo://drive.")
        options = dict(uri.options)
        self._pace = Pace(options.get("fps", DriveSettings.fps) if options.pop("realtime", False) else 0)
        self._loop = bool(options.pop("loop", False))
        try:
            self._drive = Drive(DriveSettings(**options))
        except ValueError as error:
            raise SourceError(f"{uri.label}: {error}") from None
        self._next = 0

    @property
    def summary(self) -> str:
        """Size, rate and length."""
        made = self._drive.settings
        return f"{made.width}x{made.height} at {made.fps:g} fps, {self._drive.frame_count} frames, seed {made.seed}"

    @property
    def fps(self) -> float:
        """Frames a second of the drive's own time."""
        return self._drive.settings.fps

    def read(self) -> Picture:
        """Return the next frame. EndOfStream after the last one."""
        if self._next == self._drive.frame_count:
            if not self._loop:
                raise EndOfStream
            self._next = 0
        image, truth = self._drive.render(self._next)
        self._next += 1
        self._pace.wait()
        return Picture(image, time.monotonic(), truth)

    def close(self) -> None:
        """Do nothing: no resource is held."""
