"""Restarts of the camera: its end, its return, and the next frame of the pilot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from perception.lab.soak.pilot_process import Outage

DOWN_S = 2.0
"""The length of an outage: long enough for the pilot to notice it, and to try in vain."""
STEP_S = 2.0
"""Design: after a fault frames flow again within the longest pause between two attempts and so much more."""


class Camera(Protocol):
    """A camera that can be restarted. start_again returns when it listens."""

    def kill(self) -> None: ...

    def start_again(self) -> None: ...


@dataclass
class Restart:
    """Monotonic seconds; up_at: when the camera listened again."""

    down_at: float
    up_at: float | None = None


class Restarter:
    """Kills the camera every `every_s`, and starts it again. now: monotonic seconds, also of the first start."""

    def __init__(self, camera: Camera, every_s: float, now: float, ends_at: float, clock: Callable[[], float]) -> None:
        """ends_at: of the soak; the camera is not killed so late that its return would not be seen."""
        self.done: list[Restart] = []
        self._camera = camera
        self._every_s = every_s
        self._due = now + every_s
        self._last_at = ends_at - every_s / 2
        self._clock = clock

    def tick(self, now: float) -> None:
        """Do what is due by now."""
        restart = self.done[-1] if self.done else None
        if restart and restart.up_at is None:
            if now >= restart.down_at + DOWN_S:
                self._camera.start_again()
                restart.up_at = self._clock()
        elif self._due <= now <= self._last_at:
            self.done.append(Restart(now))
            self._camera.kill()
            self._due += self._every_s


@dataclass(frozen=True)
class Recovery:
    """A restart of the camera, as the pilot went through it. noticed: the source was lost.

    took_s: from the camera's return to the next frame, None where none came; allowed_s: the longest pause of that
    outage and STEP_S.
    """

    down_at: float
    noticed: bool
    took_s: float | None
    allowed_s: float

    @property
    def in_time(self) -> bool:
        """True if frames flowed again within the allowed time."""
        return self.took_s is not None and self.took_s <= self.allowed_s


def recoveries(restarts: list[Restart], outages: list[Outage], now: float) -> list[Recovery]:
    """Return the recovery from each restart, in order; without the last one while it is still under way at `now`."""
    ends = [*(restart.down_at for restart in restarts[1:]), float("inf")]
    found = [_recovery(restart, until, outages) for restart, until in zip(restarts, ends)]
    if found and found[-1].took_s is None:
        up_at = restarts[-1].up_at
        if up_at is None or now - up_at <= found[-1].allowed_s:
            found.pop()
    return found


def _recovery(restart: Restart, until: float, outages: list[Outage]) -> Recovery:
    """Return the recovery from a restart; an outage belongs to every restart that it overlaps."""
    mine = [one for one in outages if one.lost_at < until and (one.back_at is None or one.back_at > restart.down_at)]
    allowed_s = max((one.pause_s for one in mine), default=0.0) + STEP_S
    back = [one.back_at for one in mine if one.back_at and restart.up_at and one.back_at > restart.up_at]
    took_s = min(back) - restart.up_at if back and restart.up_at else None
    return Recovery(restart.down_at, bool(mine), took_s, allowed_s)
