"""The interface of every kind of source, and the frames that the sources decode into."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from perception.core.errors import SourceError
from perception.core.frame import Image, Truth

Lend = Callable[[tuple[int, int]], Image | None]
"""Returns a frame (height, width, 3) uint8 to decode into, reused once nobody holds it; None where none is free."""


class Borrower:
    """A capture that decodes into lent frames, of the size of the picture before: that of the next is not known yet."""

    def __init__(self) -> None:
        self._lend: Lend | None = None
        self._hw: tuple[int, int] | None = None

    def borrow_from(self, lend: Lend) -> None:
        """Ask `lend` for frames from now on; where none is lent, OpenCV allocates memory for the picture."""
        self._lend = lend

    def borrowed(self) -> Any:
        """Return a frame to decode into, or None, which lets OpenCV allocate one."""
        return self._lend(self._hw) if self._lend and self._hw else None

    def note_size(self, image: Any) -> None:
        """Note the size of a decoded picture (H, W, ...)."""
        self._hw = (image.shape[0], image.shape[1])


class UnusableSource(SourceError):
    """A source that waiting cannot mend, such as a pipeline without pictures: never tried again."""


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
    """Holds a file or the drive to a rate, as of a camera. rate: pictures a second; 0 for no limit."""

    def __init__(self, rate: float) -> None:
        self._period_s = 1 / rate if rate else 0.0
        self._due = time.monotonic()

    def wait(self) -> None:
        """Sleep until the next picture is due. A reader that fell behind by more than one does not catch up."""
        if self._period_s:
            self._due = max(self._due + self._period_s, time.monotonic() - self._period_s)
            time.sleep(max(self._due - time.monotonic(), 0))
