"""The sink that sends to an MQTT broker: it notes each frame in microseconds, and leaves the rest to a thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

from loguru import logger

from perception.core.results import BackendInfo, BoardSnapshot, Report
from perception.core.source_state import SourceState
from perception.reporting.mqtt.access import read_access
from perception.reporting.mqtt.link import Link, Outbox
from perception.reporting.mqtt.messages import FrameFigures, PilotState, VehicleFrame, state_message, vehicles_message
from perception.settings.model import MqttSettings

MAX_FRAMES = 20_000
"""The most frames that a state counts, where the broker is away for long."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class MqttSink:
    """Tells a broker of vehicles, at most max_rate_hz times a second, and of the state of the pilot."""

    def __init__(
        self,
        settings: MqttSettings,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        state_s: float = 10.0,
    ) -> None:
        """settings.host must not be None. Raises SettingsError for settings that cannot be used; connects to nobody."""
        access = read_access(settings)
        if access.password is not None and access.tls is None and access.host not in LOOPBACK:
            logger.warning(f"The password goes to the broker {access.place} in clear text: set mqtt.tls: true")
        self._clock = clock
        self._wall_clock = wall_clock
        self._period_s = 1 / settings.max_rate_hz
        self._next_at = float("-inf")
        self._outbox = Outbox(settings.queue)
        self._link = Link(access, settings.keepalive_s, self._outbox, self._state, state_s)
        self._source_state: Callable[[], SourceState] | None = None
        self._figures: deque[FrameFigures] = deque(maxlen=MAX_FRAMES)
        self._counted_from = clock()
        self._source: str | None = None
        self._backend: BackendInfo | None = None
        self._board: BoardSnapshot | None = None

    def follow(self, source_state: Callable[[], SourceState]) -> None:
        """Connect, even before the first frame. source_state: the state of the source, for any thread."""
        self._source_state = source_state
        self._link.start()

    def write(self, report: Report) -> None:
        """Note one frame; holds no image."""
        self._link.start()
        result, frame = report.result, report.frame
        self._figures.append(FrameFigures(result.total_ms, result.age_ms, report.dropped))
        self._source, self._backend = frame.source, report.backend
        self._board = report.board or self._board
        now = self._clock()
        if not len(result.detections) or now < self._next_at:
            return
        # From the moment it was due, not from this one, or frames would pull the rate below the one that was set.
        self._next_at = (self._next_at if now - self._next_at < self._period_s else now) + self._period_s
        noted = VehicleFrame(self._wall_clock(), frame.frame_id, frame.source, result, report.backend)
        self._outbox.put(partial(vehicles_message, noted))

    def _state(self) -> bytes:
        """Return the state since the last one; called by the link's thread."""
        now = self._clock()
        frames = [self._figures.popleft() for _ in range(len(self._figures))]
        elapsed_s, self._counted_from = now - self._counted_from, now
        state = self._source_state() if self._source_state else None
        return state_message(
            PilotState(
                wall_s=self._wall_clock(),
                elapsed_s=elapsed_s,
                frames=frames,
                source=self._source,
                backend=self._backend,
                source_state=state,
                source_for_s=now - state.since if state else None,
                board=self._board,
                waiting=len(self._outbox),
                lost=self._outbox.lost,
            )
        )

    def close(self) -> None:
        """Say offline and end, within two seconds."""
        self._link.stop()
        if self._outbox.lost or len(self._outbox):
            lost = self._outbox.lost + len(self._outbox)
            logger.warning(f"{lost} messages on vehicles did not reach the broker")
