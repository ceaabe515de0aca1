"""The source of a run: a reader, replaced when the settings name another source."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from perception.camera.reader import Reader
from perception.camera.uri import SourceUri, parse
from perception.core.errors import EndOfStream, SourceError
from perception.core.frame import Frame
from perception.core.source_state import SourceState
from perception.settings.model import Settings, SourceSettings

POLL_S = 0.2
"""Seconds between two checks for a stop while waiting; a frame ends the wait at once."""


class Feed:
    """Frames of the current source, with ids that continue from source to source.

    A context manager, used by the main thread.
    """

    def __init__(
        self,
        settings: SourceSettings,
        open_reader: Callable[[SourceSettings], Reader],
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """goes_on: called repeatedly while another source is opened; False gives that up.

        Raises SourceError where open_reader does: for a URI that cannot be understood, or a camera that is taken.
        """
        self._settings = settings
        self._goes_on = goes_on
        self._first: Frame | None = None
        self._open_reader = open_reader
        self._reader = open_reader(settings)
        self._first_id = 0

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def label(self) -> str:
        """The URI without credentials."""
        return self._reader.uri.label

    @property
    def state(self) -> SourceState:
        """State of the source."""
        return self._reader.state

    def is_open(self, timeout_s: float) -> bool:
        """As Reader.is_open."""
        return self._reader.is_open(timeout_s)

    def read(self, timeout_s: float) -> Frame | None:
        """As Reader.read."""
        frame, self._first = self._first or self._reader.read(timeout_s), None
        return replace(frame, frame_id=frame.frame_id + self._first_id) if frame and self._first_id else frame

    def apply(self, settings: Settings) -> None:
        """Open another source where the settings name one, or open it differently.

        The old one stays in use until the new one has given a frame. Where both may be one device, which allows one
        reader only, the old one is closed first, and opened again where the new one fails. SourceError says why.
        """
        if settings.source == self._settings:
            return
        wanted = parse(settings.source.uri)  # raises for a bad URI, before anything is closed
        if shares_device(self._reader.uri, wanted):
            self._reader.close()
            try:
                reader, first = self._tried(settings.source)
            except Exception:
                self._first_id += self._reader.captured
                # The camera was there before, so it is waited for, whatever settings.wait says.
                self._reader = self._open_reader(self._settings.model_copy(update={"wait": True}))
                raise
        else:
            reader, first = self._tried(settings.source)
            self._reader.close()
        self._first_id += self._reader.captured
        self._reader, self._first, self._settings = reader, first, settings.source

    def _tried(self, settings: SourceSettings) -> tuple[Reader, Frame]:
        """Return a reader and its first frame. SourceError where none comes in time."""
        reader = self._open_reader(settings.model_copy(update={"wait": False}))
        try:
            return reader, self._first_frame(reader, settings)
        except BaseException:
            reader.close()
            raise

    def _first_frame(self, reader: Reader, settings: SourceSettings) -> Frame:
        limit_s = settings.open_timeout_s + settings.stall_s
        ends_at = time.monotonic() + limit_s
        while self._goes_on() and time.monotonic() < ends_at:
            try:
                frame = reader.read(POLL_S)
            except EndOfStream:
                raise SourceError(f"{reader.uri.label} holds no frame") from None
            if frame is not None:
                return frame
        raise SourceError(f"{reader.uri.label} gave no frame within {limit_s:g} s")


def shares_device(one: SourceUri, other: SourceUri) -> bool:
    """Return True if two sources may be one camera, which then cannot be open for both.

    A pipeline may open any camera, and a sensor of csi:// may be a /dev/video, too.
    """
    if not (one.camera and other.camera):
        return False
    schemes = {one.scheme, other.scheme}
    if schemes == {"rtsp"}:
        return urlsplit(one.target).hostname == urlsplit(other.target).hostname
    if schemes == {"csi"}:
        return int(one.target) == int(other.target)
    if schemes == {"v4l2"}:
        return os.path.realpath(one.target) == os.path.realpath(other.target)
    return "gst" in schemes or schemes == {"csi", "v4l2"}
