"""What the reader thread asks of every kind of source."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from perception.core.errors import SourceError
from perception.core.frame import Image, Truth

Lend = Callable[[tuple[int, int]], Image | None]
"""Gives a frame (height, width, 3) uint8 to decode into, the borrower's until nobody holds it; None where none is."""


class Borrower:
    """A capture that decodes into lent frames: of the size of the picture before, as nobody knows the next one's."""

    def __init__(self) -> None:
        self._lend: Lend | None = None
        self._hw: tuple[int, int] | None = None

    def borrow_from(self, lend: Lend) -> None:
        """From here on frames are asked for; before, and where none is lent, each picture has memory of its own."""
        self._lend = lend

    def borrowed(self) -> Any:
        """A frame to decode into, or None, which lets OpenCV take memory of its own."""
        return self._lend(self._hw) if self._lend and self._hw else None

    def took(self, image: Any) -> None:
        """A picture (H, W, ...) came."""
        self._hw = (image.shape[0], image.shape[1])


class UnusableSource(SourceError):
    """A source that no waiting mends, such as a pipeline that cannot give pictures: never tried again."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image with the monotonic time in seconds at which it was captured, and the truth where that is known.

    position_ms: its place in the stream by the stream's own clock, None where there is none.
    """

    image: Image
    captured_at: float
    truth: Truth | None = None
    position_ms: float | None = None


class Capture(Protocol):
    """An open source, used by one thread only.

    `read` blocks until the next picture. It gives None where there is nothing yet, raises EndOfStream after the last
    picture of a finite source, and SourceError when the source is lost: three outcomes, never confused.
    `summary` is one phrase on what was opened (size, rate), for the log. `fps` is the nominal rate, 0 where unknown.
    """

    @property
    def summary(self) -> str: ...

    @property
    def fps(self) -> float: ...

    def read(self) -> Picture | None: ...

    def close(self) -> None: ...


class Pace:
    """Holds a file or the drive to a rate, as a camera keeps one. rate: pictures a second; 0 holds nothing back."""

    def __init__(self, rate: float) -> None:
        self._period_s = 1 / rate if rate else 0.0
        self._due = time.monotonic()

    def wait(self) -> None:
        """Sleeps until the next picture is due. A reader that fell behind by more than one catches up no further."""
        if self._period_s:
            self._due = max(self._due + self._period_s, time.monotonic() - self._period_s)
            time.sleep(max(self._due - time.monotonic(), 0))
