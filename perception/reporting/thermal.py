"""Warns when the board gets hot or slows itself down, and when that ends, with its effect on the latency."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from loguru import logger

from perception.core.heat import HOT_MARGIN_C
from perception.core.results import BoardSnapshot
from perception.reporting.lines import board_words


class Band(NamedTuple):
    """A state with hysteresis, by the distance to the temperature from which the board slows itself down."""

    enter_below_c: float
    leave_above_c: float


HOT = Band(enter_below_c=HOT_MARGIN_C, leave_above_c=10.0)
# Throttling flickers: it has ended once it was away for this long, which does not count as throttling.
THROTTLING_AWAY_S = 10.0
# How many frames tell the latency at most: the last ones of a calm stretch, and of an episode.
CALM_FRAMES, EPISODE_FRAMES = 300, 20_000


class _Episode:
    """One of the two states: its latency before and while it lasts. A frame counts once a snapshot has confirmed it."""

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        self._title = title
        self._clock = clock
        self._before = "unknown"
        self._calm_ms: deque[float] = deque(maxlen=CALM_FRAMES)
        self._during_ms: deque[float] = deque(maxlen=EPISODE_FRAMES)
        self._since = self._confirmed_at = 0.0
        self.on = False

    def add(self, total_ms: float) -> None:
        self._calm_ms.append(total_ms)

    def begin(self, cause: str) -> None:
        self.on, self._before = True, _median(self._calm_ms)
        self._since = self._confirmed_at = self._clock()
        self._calm_ms.clear()
        self._during_ms.clear()
        logger.warning(f"{self._title} began: {cause}. Latency before: p50 {self._before}.")

    def confirm(self) -> None:
        """Confirm that it lasts: the frames since the last snapshot belong to it."""
        self._confirmed_at = self._clock()
        self._during_ms.extend(self._calm_ms)
        self._calm_ms.clear()

    def away_s(self) -> float:
        return self._clock() - self._confirmed_at

    def end(self, how: str) -> None:
        self.on = False
        latency = f"p50 {_median(self._during_ms)} during it, {self._before} before"
        logger.warning(f"{self._title}{how} after {self._confirmed_at - self._since:.0f} s. Latency: {latency}.")


def _median(values_ms: deque[float]) -> str:
    return f"{statistics.median(values_ms):.1f} ms" if values_ms else "unknown"


class ThermalWatch:
    """Follows every frame and every snapshot; logs a warning where a state begins and where it ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._heat = _Episode("Heat", clock)
        self._throttling = _Episode("Throttling", clock)

    def add(self, total_ms: float) -> None:
        """Count the latency of one frame, in milliseconds."""
        self._heat.add(total_ms)
        self._throttling.add(total_ms)

    def see(self, snapshot: BoardSnapshot) -> None:
        """Judge a snapshot."""
        self._judge_heat(snapshot)
        self._judge_throttling(snapshot)

    def close(self) -> None:
        """End, with their warnings, the states that last."""
        for episode in (self._heat, self._throttling):
            if episode.on:
                episode.end(", or the run, ended")

    def _judge_heat(self, snapshot: BoardSnapshot) -> None:
        margins = {
            zone: limit_c - snapshot.temperatures_c[zone]
            for zone, limit_c in snapshot.throttle_from_c.items()
            if zone in snapshot.temperatures_c
        }
        if not margins:
            return
        zone = min(margins, key=margins.__getitem__)
        if not self._heat.on and margins[zone] <= HOT.enter_below_c:
            limit_c = snapshot.throttle_from_c[zone]
            self._heat.begin(f"{_state(snapshot, zone)}, and the board slows itself down from {limit_c:.0f} C")
        elif self._heat.on and margins[zone] >= HOT.leave_above_c:
            self._heat.end(" ended")
        elif self._heat.on:
            self._heat.confirm()

    def _judge_throttling(self, snapshot: BoardSnapshot) -> None:
        if snapshot.throttling and self._throttling.on:
            self._throttling.confirm()
        elif snapshot.throttling:
            hottest = max(snapshot.temperatures_c, key=snapshot.temperatures_c.__getitem__, default="")
            self._throttling.begin(f"{', '.join(snapshot.throttling)} ({_state(snapshot, hottest)})")
        elif self._throttling.on and self._throttling.away_s() >= THROTTLING_AWAY_S:
            self._throttling.end(" ended")


def _state(snapshot: BoardSnapshot, zone: str) -> str:
    return ", ".join(board_words(snapshot, zone)) or "temperature unknown"
