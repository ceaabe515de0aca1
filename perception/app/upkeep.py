"""Work between frames: a sign of life for systemd, and new settings after SIGHUP."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from perception.app.meter import Meter
from perception.camera.feed import Feed
from perception.core.results import BackendInfo, Summary
from perception.core.source_state import SourceState
from perception.settings.live import LiveSettings, Part
from perception.system.notify import Heartbeat
from perception.system.stop import StopFlag


class Upkeep:
    """Called each time the loop turns: with each frame, and each time a wait for one is over.

    Entering it tells systemd that the pilot is ready, leaving it that it stops. A turn without anything to do costs
    less than a microsecond.
    """

    def __init__(
        self,
        heart: Heartbeat,
        live: LiveSettings,
        stop: StopFlag,
        source: Feed,
        meter: Meter,
        also: Callable[[], None],
        parts: Sequence[Part],
    ) -> None:
        """also: called at each turn as well. parts: take over new settings, the source among them."""
        self._heart = heart
        self._live = live
        self._stop = stop
        self._source = source
        self._meter = meter
        self._also = also
        self._parts = parts

    def __enter__(self) -> Upkeep:
        self._heart.ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heart.stopping()

    def __call__(self) -> None:
        """Do what one turn of the loop asks for."""
        self._also()
        if self._heart.beat():
            state, window = self._source.state, self._meter.latest
            text = status_line(state, self._source.label, window, self._meter.backend, time.monotonic())
            self._heart.status(text, (state.state in ("lost", "reconnecting") or state.state, window is None))
        if self._stop.take_reload():
            self._heart.reloading()
            self._live.read_again(self._parts)
            self._heart.ready()


def status_line(state: SourceState, label: str, window: Summary | None, backend: BackendInfo, now: float) -> str:
    """Return the state of the pilot for `systemctl status`. now: monotonic seconds; window: the latest there is."""
    for_s = now - state.since
    if state.state == "starting":
        return f"waiting for camera {label} ({for_s:.0f} s)" + (f": {state.fault}" if state.fault else "")
    if state.state != "live":
        return f"camera lost {for_s:.0f} s ago, reconnecting" + (f": {state.fault}" if state.fault else "")
    figures = [f"{backend.name} {backend.precision}"]
    if window and window.p50_ms is not None:
        figures.insert(0, f"p50 {window.p50_ms:.1f} ms")
    if window and window.fps is not None:
        figures.insert(0, f"{window.fps:.1f} fps")
    return f"live: {', '.join(figures)}"
