"""The source of a run: a reader, which other settings may exchange for another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from perception.camera.latest import Reader
from perception.camera.uri import parse
from perception.config import Settings, SourceSettings
from perception.errors import SourceError
from perception.frame import Frame
from perception.source_state import SourceState


class Feed:
    """Frames of the source in force, with ids that go on from source to source.

    A context manager, used by the main thread.
    """

    def __init__(self, settings: SourceSettings, open_reader: Callable[[SourceSettings], Reader]) -> None:
        """Raises SourceError where open_reader does: for a URI that cannot be understood, or a camera that is taken."""
        self._settings = settings
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
        """How the source is doing."""
        return self._reader.state

    def is_open(self, timeout_s: float) -> bool:
        """As Reader.is_open."""
        return self._reader.is_open(timeout_s)

    def read(self, timeout_s: float) -> Frame | None:
        """As Reader.read."""
        frame = self._reader.read(timeout_s)
        return replace(frame, frame_id=frame.frame_id + self._first_id) if frame and self._first_id else frame

    def apply(self, settings: Settings) -> None:
        """Opens another source where the settings name one, or want it opened otherwise.

        SourceError where open_reader raises it; the old source is then in force.
        """
        if settings.source == self._settings:
            return
        parse(settings.source.uri)  # what cannot be understood interrupts nothing
        self._reader.close()  # first, since two settings of one camera cannot be open together
        self._first_id += self._reader.captured
        try:
            self._reader = self._open_reader(settings.source)
        except SourceError:
            self._reader = self._open_reader(self._settings)
            raise
        self._settings = settings.source
