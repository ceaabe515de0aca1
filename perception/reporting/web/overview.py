"""What /api/state, /healthz and /readyz tell: counted figures and the readings of the other parts, in one place."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from perception.core.frame import BackendInfo
from perception.core.source_state import SourceState
from perception.reporting.vehicles import rounded
from perception.reporting.web.facts import Lines, Parts
from perception.reporting.web.sink import WebSink
from perception.reporting.web.tally import Second, Tally

LIVE_S = 10.0
"""A loop that has not turned for so long hangs: it turns five times a second while it waits for a frame."""
FLOW_S = 5.0
"""Frames flow while the last one is not older."""

Verdict = tuple[bool, str]


class Overview:
    """For the thread of the server. clock: monotonic seconds; wall_clock: Unix seconds."""

    def __init__(
        self,
        sink: WebSink,
        lines: Lines,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.tally = Tally()
        self.parts: Parts | None = None
        self.sink = sink
        self._lines = lines
        self._clock = clock
        self._wall_clock = wall_clock
        self._run = f"{wall_clock():.3f}"

    def settle(self) -> None:
        """Counts what the loop has left, and closes the seconds that are over."""
        self.tally.add(self.sink.take_measured())
        self.tally.tick(self._clock(), self.sink.board)

    def live(self) -> Verdict:
        """Whether the loop turns; a pilot that still starts is alive."""
        if self.parts is None:
            return True, "starting"
        ago_s = self._clock() - self.sink.turned_at
        return ago_s < LIVE_S, "the loop turns" if ago_s < LIVE_S else f"the loop has not turned for {ago_s:.0f} s"

    def ready(self) -> Verdict:
        """Whether frames flow."""
        self.settle()
        age_s = self.frame_age_s()
        if age_s is not None and age_s < FLOW_S:
            return True, "frames flow"
        source = self.source
        why = f"source {source.state}" if source else "starting"
        return False, f"no frame yet, {why}" if age_s is None else f"no frame for {age_s:.0f} s, {why}"

    def frame_age_s(self) -> float | None:
        """Seconds since the vehicles of the last frame were known; None before the first frame."""
        latest = self.tally.latest
        return max(self._clock() - latest.ended_at, 0.0) if latest else None

    @property
    def source(self) -> SourceState | None:
        """How the source is doing; None while the pilot starts."""
        return self.parts.source.state if self.parts else None

    @property
    def backend(self) -> BackendInfo | None:
        """What serves; None while the pilot starts."""
        return self.parts.meter.backend if self.parts else None

    def state(self, after: int, log: int) -> dict[str, Any]:
        """Everything, as JSON takes it: seconds of the history after `after`, lines of the log after number `log`."""
        self.settle()
        tally, now = self.tally, self._clock()
        latest = tally.latest
        known = {
            "run": self._run,
            "at": self._wall_clock(),
            "live": self.live()[0],
            "ready": self.ready()[0],
            "source": self._source(now),
            "backend": self._backend(),
            "frame": {"age_ms": latest.result.age_ms, "ended_ago_s": self.frame_age_s()} if latest else None,
            "recent": dataclasses.asdict(tally.recent(now)),
            "window": _fields(self.parts.meter.latest) if self.parts else None,
            "totals": {"frames": tally.frames, "dropped": tally.dropped, "vehicles": dict(tally.vehicles)},
            "board": _fields(self.sink.board),
            "history": _columns([second for second in tally.history if second.number > after]),
            "log": [_fields(line) for line in self._lines() if line.number > log],
        }
        state = rounded(known)
        assert isinstance(state, dict)
        return state

    def _source(self, now: float) -> dict[str, Any] | None:
        if self.parts is None:
            return None
        state = self.parts.source.state
        return {
            "label": self.parts.source.label,
            "state": state.state,
            "for_s": now - state.since,
            "reconnects": state.reconnects,
            "fault": state.fault,
        }

    def _backend(self) -> dict[str, Any] | None:
        if self.parts is None:
            return None
        info = self.parts.meter.backend
        return {
            "name": info.name,
            "precision": info.precision,
            "input": f"{info.input_hw[1]}x{info.input_hw[0]}",
            "passed_over": list(self.parts.service.passed_over),
        }


def _fields(noun: Any) -> dict[str, Any] | None:
    return None if noun is None else {field.name: getattr(noun, field.name) for field in dataclasses.fields(noun)}


def _columns(history: Sequence[Second]) -> dict[str, list[Any]]:
    return {field.name: [getattr(second, field.name) for second in history] for field in dataclasses.fields(Second)}
