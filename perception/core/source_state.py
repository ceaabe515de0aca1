"""The state of a source: one noun that a reader thread replaces as a whole, and any thread may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "live", "lost", "reconnecting"]


@dataclass(frozen=True, slots=True)
class SourceState:
    """starting: no picture yet. live: pictures come. lost: none come, and a pause runs until the next attempt to open
    it. reconnecting: such an attempt is under way.

    since: monotonic seconds of the start, of the first picture, or of the loss; lost and reconnecting share the latter.
    reconnects: how often pictures came again after a loss. fault: the last thing that went wrong, without credentials,
    "" where nothing has.
    """

    state: State
    since: float
    reconnects: int = 0
    fault: str = ""
