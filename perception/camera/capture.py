"""What the reader thread asks of every kind of source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from perception.frame import Image, Truth


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image with the monotonic time in seconds at which it was captured, and the truth where that is known."""

    image: Image
    captured_at: float
    truth: Truth | None = None


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
