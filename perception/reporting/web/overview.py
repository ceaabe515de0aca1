"""The answers to /api/state, /healthz and /readyz, made of counted figures and readings of the other parts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from perception.core.results import BackendInfo, Summary
from perception.core.source_state import SourceState
from perception.reporting.vehicles import rounded, rounded_fields
from perception.reporting.web.sink import LogLine, WebSink
from perception.reporting.web.statistics import Second, Statistics

LIVE_S = 10.0
"""A loop that has not turned for this long hangs: it turns five times a second while it waits for a frame."""
FLOW_S = 5.0
"""Frames flow while the last one is no older than this."""

Verdict = tuple[bool, str]


@dataclasses.dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run besides its frames. passed_over: each step of the selection before the backend that serves,
    with its reason. source: its URI without credentials. window: the last one that ended.
    """

    passed_over: Sequence[str]
    backend: BackendInfo
    source: str
    source_state: SourceState
    window: Summary | None


class Overview:
    """For the thread of the server.

    read_status: set once the run is open. clock: monotonic seconds; wall_clock: Unix seconds.
    """

    def __init__(
        self,
        sink: WebSink,
        lines: Callable[[], Sequence[LogLine]],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.statistics = Statistics()
        self.read_status: Callable[[], RunStatus] | None = None
        self.sink = sink
        self._lines = lines
        self._clock = clock
        self._wall_clock = wall_clock
        self._run = f"{wall_clock():.3f}"

    def settle(self) -> None:
        """Count what the loop has left, and close the seconds that are over."""
        self.statistics.add(self.sink.take_measured())
        self.statistics.tick(self._clock(), self.sink.board)

    def live(self) -> Verdict:
        """Return True while the loop turns, with the words for it; a pilot that still starts is alive."""
        if self.read_status is None:
            return True, "starting"
        ago_s = self._clock() - self.sink.turned_at
        return ago_s < LIVE_S, "the loop turns" if ago_s < LIVE_S else f"the loop has not turned for {ago_s:.0f} s"

    def ready(self) -> Verdict:
        """Return True while frames flow, with the words for it."""
        self.settle()
        age_s = self.frame_age_s()
        if age_s is not None and age_s < FLOW_S:
            return True, "frames flow"
        status = self.status
        why = f"source {status.source_state.state}" if status else "starting"
        return False, f"no frame yet, {why}" if age_s is None else f"no frame for {age_s:.0f} s, {why}"

    def frame_age_s(self) -> float | None:
        """Return seconds since the vehicles of the last frame were known; None before the first frame."""
        latest = self.statistics.latest
        return max(self._clock() - latest.ended_at, 0.0) if latest else None

    @property
    def status(self) -> RunStatus | None:
        """The state of the run now; None while the pilot starts."""
        return self.read_status() if self.read_status else None

    def state(self, after: int, log: int) -> dict[str, Any]:
        """Return all of it for JSON: seconds of the history after `after`, lines of the log after number `log`."""
        self.settle()
        counted, status, now = self.statistics, self.status, self._clock()
        latest = counted.latest
        known = {
            "run": self._run,
            "at": self._wall_clock(),
            "live": self.live()[0],
            "ready": self.ready()[0],
            "source": _source(status, now) if status else None,
            "backend": _backend(status) if status else None,
            "frame": {"age_ms": latest.result.age_ms, "ended_ago_s": self.frame_age_s()} if latest else None,
            "recent": dataclasses.asdict(counted.recent(now)),
            "window": rounded_fields(status.window) if status else None,
            "totals": {
                "frames": counted.frames,
                "dropped": counted.dropped,
                "vehicles": dict(counted.vehicles),
            },
            "board": rounded_fields(self.sink.board),
            "history": _columns([second for second in counted.history if second.number > after]),
            "log": [rounded_fields(line) for line in self._lines() if line.number > log],
        }
        state = rounded(known)
        assert isinstance(state, dict)
        return state


def _source(status: RunStatus, now: float) -> dict[str, Any]:
    state = status.source_state
    return {
        "label": status.source,
        "state": state.state,
        "for_s": now - state.since,
        "reconnects": state.reconnects,
        "fault": state.fault,
    }


def _backend(status: RunStatus) -> dict[str, Any]:
    info = status.backend
    return {
        "name": info.name,
        "precision": info.precision,
        "input": f"{info.input_hw[1]}x{info.input_hw[0]}",
        "passed_over": list(status.passed_over),
    }


def _columns(history: Sequence[Second]) -> dict[str, list[Any]]:
    return {field.name: [getattr(second, field.name) for second in history] for field in dataclasses.fields(Second)}
