"""Reads the board once a second in threads of its own, which never touch detection, whatever they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from loguru import logger

from perception.board.jetson_stats import JetsonStatsSource
from perception.board.nvml import NvmlSource
from perception.board.sources import Source, SysfsSource, merged
from perception.core.results import BoardSnapshot

INTERVAL_S = 1.0
# A source that failed is asked again after this.
RETRY_S = 30.0
# Figures older than this are not reported: their source hangs.
STALE_S = 5.0
# Seconds that the end of a run waits for a read in progress.
PATIENCE_S = 0.2


class _Poller:
    """One source in a daemon thread of its own, with one slot for its newest figures."""

    def __init__(self, source: Source, interval_s: float, clock: Callable[[], float]) -> None:
        self._source = source
        self._interval_s = interval_s
        self._clock = clock
        self._stop = threading.Event()
        self._slot: tuple[float, BoardSnapshot] | None = None
        self._asked_at: float | None = None
        self._complained = False
        self._thread = threading.Thread(target=self._poll, name=f"board {source.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def newest(self, now: float) -> BoardSnapshot | None:
        """Return the figures of the last STALE_S. Warns once where the source takes longer."""
        asked_at = self._asked_at
        if asked_at is not None and now - asked_at > STALE_S:
            self._complain(f"has not answered for {STALE_S:.0f} s")
        slot = self._slot
        return slot[1] if slot and now - slot[0] <= STALE_S else None

    def _poll(self) -> None:
        try:
            while not self._stop.is_set():
                self._asked_at = self._clock()
                pause_s = self._read()
                self._asked_at = None
                if pause_s is None:
                    return
                self._stop.wait(pause_s)
        finally:
            self._asked_at = None
            self._close()

    def _read(self) -> float | None:
        """Fill the slot. Return the seconds until the next read, None where the source has nothing."""
        try:
            snapshot = self._source.read()
        except Exception as fault:  # a fault of one library must end neither the other figures nor the run
            self._complain(f"failed ({type(fault).__name__}: {' '.join(str(fault).split())})")
            return max(RETRY_S, self._interval_s)
        if snapshot is None:
            return None
        self._slot = (self._clock(), snapshot)
        return self._interval_s

    def _close(self) -> None:
        try:
            self._source.close()
        except Exception as fault:
            self._complain(f"could not be closed ({type(fault).__name__}: {fault})")

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            logger.warning(
                f"Reading the board through {self._source.name} {what}: its figures may be missing from the records. "
                "Detection goes on; python3 scripts/doctor.py says more."
            )


class Board:
    """The newest figures of the board. A context manager: the readers run from enter to exit.

    sources: in the order of preference, see sources.merged. clock: monotonic seconds.
    """

    def __init__(
        self,
        sources: Sequence[Source] | None = None,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        chosen: Sequence[Source] = (SysfsSource(), JetsonStatsSource(), NvmlSource()) if sources is None else sources
        self._pollers = [_Poller(source, interval_s, clock) for source in chosen]
        self._interval_s = interval_s
        self._clock = clock
        self._next = clock()
        self._newest: BoardSnapshot | None = None

    def __enter__(self) -> Board:
        for poller in self._pollers:
            poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        for poller in self._pollers:
            poller.stop()
        for poller in self._pollers:
            poller.join(PATIENCE_S)

    def newest(self) -> BoardSnapshot | None:
        """Return a new snapshot once a second, the same object in between; None where nothing can be read. Never waits.

        For one thread, which calls it for every frame: it costs a read of the clock.
        """
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval_s
            told = (poller.newest(now) for poller in self._pollers)
            self._newest = merged(snapshot for snapshot in told if snapshot is not None)
        return self._newest
