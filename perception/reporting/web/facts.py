"""What the page asks of the rest of the pilot, besides the frames: readings that any thread may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from perception.core.frame import BackendInfo, Summary
from perception.core.source_state import SourceState


class Source(Protocol):
    """A source with its URI without credentials, and how it is doing."""

    @property
    def label(self) -> str: ...

    @property
    def state(self) -> SourceState: ...


class Meter(Protocol):
    """The summary of the last window that ended, and what serves."""

    @property
    def latest(self) -> Summary | None: ...

    @property
    def backend(self) -> BackendInfo: ...


class Service(Protocol):
    """Why it serves with what it serves: each step that was passed over, with its reason."""

    @property
    def passed_over(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a run that the page tells of, once they are open."""

    service: Service
    source: Source
    meter: Meter


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log. at: Unix seconds."""

    number: int
    at: float
    level: str
    text: str


Lines = Callable[[], Sequence[LogLine]]
