"""A Reader over fake captures, and waiting without a fixed sleep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from perception.camera import outage
from perception.camera.capture import Capture
from perception.camera.reader import Reader
from perception.camera.uri import parse
from perception.core.errors import SourceError
from perception.settings.model import SourceSettings

LIVE = "rtsp://u:hunter2@cam/1"
FINITE = "clip.mp4"


class Hanging:
    """A capture whose read, or whose opening, hangs in a driver until it is let go."""

    summary = "hanging"
    fps = 0.0

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._let_go = threading.Event()

    def read(self) -> None:
        self.reached.set()
        self._let_go.wait(30)

    def open(self) -> Capture:
        self.read()
        return self

    def close(self) -> None:
        """Nothing to give back."""

    def let_go(self) -> None:
        self._let_go.set()


class Opener:
    """Opens what it is given, one after the other: a capture, or a SourceError raised. After the last, hangs."""

    def __init__(self, outcomes: Sequence[Capture | SourceError]) -> None:
        self._outcomes = iter(outcomes)
        self.last = Hanging()
        self.calls = 0

    def __call__(self) -> Capture:
        self.calls += 1
        outcome = next(self._outcomes, None)
        if outcome is None:
            return self.last
        if isinstance(outcome, SourceError):
            raise outcome
        return outcome


MakeReader = Callable[..., Reader]


@pytest.fixture
def make_reader() -> Iterator[MakeReader]:
    """Starts a Reader on captures or an opener; afterwards lets hanging ones go and sees that the thread ended."""
    started: list[tuple[Reader, Opener | None]] = []

    def make(
        *outcomes: Capture | SourceError, uri: str = LIVE, opener: Opener | None = None, **settings: object
    ) -> Reader:
        opener = opener or Opener(outcomes)
        values = SourceSettings.model_validate({"uri": uri, **settings})
        reader = Reader(parse(uri), opener, values)
        started.append((reader, opener))
        return reader

    yield make
    for reader, opener in started:
        if opener is not None:
            opener.last.let_go()
        reader.close()
    assert wait_for(lambda: not reader_threads()), "a reader's thread was left behind"


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnects after hundredths of a second instead of seconds."""
    monkeypatch.setattr(outage, "BACKOFF_S", (0.01, 0.05))


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reader"]


def wait_for(condition: Callable[[], object], timeout_s: float = 10) -> bool:
    """Return True if the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
