"""Follows the outages of a source: logs each change once, and sets the pauses between attempts to open it."""

from __future__ import annotations

import random
import time

from loguru import logger

from perception.camera.capture import UnusableSource
from perception.camera.uri import SourceUri
from perception.core.errors import SourceError
from perception.core.source_state import SourceState, State

BACKOFF_S = (1.0, 30.0)
JITTER = 1.2
"""A pause is shorter than the back-off by a random factor from here to 1, so that not all devices retry at once."""
REMIND_S = 60.0
ARGUS_FAILURES = 3
"""Failures in a row after which the camera daemon of a Jetson is the likely cause."""


class Outage:
    """Follows a source through starting, live, lost and reconnecting; each change is logged once, with its duration.

    Used by one thread at a time, but for `state`, which any thread may read.
    """

    def __init__(self, uri: SourceUri, waits: bool, random_source: random.Random | None = None) -> None:
        """waits: True to wait for a camera that is not there at the start."""
        self.state = SourceState("starting", time.monotonic())
        self.failures = 0  # in a row, since the last new picture
        self._uri = uri
        self._waits = waits
        self._random = random_source or random.Random()
        self._said_at = -REMIND_S
        self._pauses = 0  # since the source was live for as long as the longest pause

    def attempt(self) -> None:
        """Note that an attempt to open the source begins."""
        if self.state.state == "lost":
            self._become("reconnecting")

    def delivered(self, summary: str) -> None:
        """Note a new picture, which alone makes a source live: a broken camera can open repeatedly without one."""
        state = self.state
        if state.state == "live":
            return
        now = time.monotonic()
        again = state.state != "starting"
        after = f" after {now - state.since:.1f} s" if again or self.failures else ""
        logger.info(f"Source live{after}: {self._uri.label} ({summary})")
        self.state = SourceState("live", now, state.reconnects + again, state.fault)
        self.failures = 0

    def trouble(self, fault: SourceError) -> float:
        """Return the seconds until the next attempt, after one failed or the source was lost.

        Raises `fault` where there is no next one: for a file, for a source that waiting cannot mend, and at the start
        unless the source is waited for.
        """
        state = self.state.state
        if isinstance(fault, UnusableSource) or not self._uri.camera or (state == "starting" and not self._waits):
            raise fault
        now = time.monotonic()
        if state == "live":
            logger.warning(
                f"Source lost after {now - self.state.since:.1f} s: {fault.what}. Reconnecting to {self._uri.label}"
            )
            self._said_at = now
            if now - self.state.since >= BACKOFF_S[1]:
                self._pauses = 0
            self.state = SourceState("lost", now, self.state.reconnects, fault.what)
        else:
            self._remind(fault, now)
            self._become("starting" if state == "starting" else "lost", fault.what)
        return self._next_delay()

    def _become(self, name: State, fault: str | None = None) -> None:
        """Change the state within the same outage."""
        state = self.state
        self.state = SourceState(name, state.since, state.reconnects, state.fault if fault is None else fault)

    def _remind(self, fault: SourceError, now: float) -> None:
        if now - self._said_at >= REMIND_S:
            self._said_at = now
            doing = "waiting for camera" if self.state.state == "starting" else "reconnecting"
            logger.warning(f"{doing}, {now - self.state.since:.0f} s so far: {fault}")

    def _next_delay(self) -> float:
        shortest, longest = BACKOFF_S
        most: float = min(shortest * JITTER * 2 ** min(self._pauses, 16), longest)
        delay = most * self._random.uniform(1 / JITTER, 1)
        self._pauses += 1
        self.failures += 1
        if self._uri.scheme == "csi" and self.failures == ARGUS_FAILURES:
            logger.warning(
                f"{self._uri.label} failed {self.failures} times in a row, which a camera daemon that hangs would "
                "explain. Restart it: sudo systemctl restart nvargus-daemon"
            )
        logger.debug(f"Next attempt to open {self._uri.label} in {delay:.1f} s")
        return delay
