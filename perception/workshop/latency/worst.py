"""The worst moments: the slowest frame of a second, for the seconds with the slowest ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from perception.workshop.latency.board_reading import Reading
from perception.workshop.latency.columns import NO_TIME, TIMES, Columns

MOST = 10
STALE_MS = 5000
"""The board's last snapshot before a frame belongs to it unless it is older than this."""


class Moment(NamedTuple):
    """A slow frame. times_ms: by TIMES, None where unknown. board: the last snapshot up to it, if there was one."""

    total_ms: float
    at_ms: int
    frame_id: int
    times_ms: tuple[float | None, ...]
    dropped: int
    served: str
    board: Reading | None

    @property
    def second(self) -> int:
        """The key of a moment: frames of one second share it; where a log has no times, each frame has its own."""
        return self.at_ms // 1000 if self.at_ms != NO_TIME else -self.frame_id

    def current_board(self) -> Reading | None:
        """Return the board's snapshot, unless it was too old."""
        if self.board is None or abs(self.at_ms - self.board.at_ms) > STALE_MS:
            return None
        return self.board


class Worst:
    """Keeps the worst moments of frames that come in order."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self._board: Reading | None = None

    def add(self, columns: Columns) -> None:
        """Take the frames that come next."""
        total_ms = columns.times["total"]
        enough = self.moments[-1].total_ms if len(self.moments) == MOST else -1.0
        rows = np.flatnonzero(total_ms >= enough)
        order = rows[np.lexsort((columns.frame_id[rows], columns.at_ms[rows], -total_ms[rows]))]
        found: dict[int, Moment] = {}
        for row in order.tolist():
            moment = self._moment(columns, row)
            found.setdefault(moment.second, moment)
            if len(found) == MOST:
                break
        self._take(list(found.values()))
        if columns.readings:
            self._board = columns.readings[-1]

    def _moment(self, columns: Columns, row: int) -> Moment:
        times = (float(columns.times[name][row]) for name in TIMES)
        before = int(np.searchsorted(columns.board_rows, row, side="right"))
        return Moment(
            float(columns.times["total"][row]),
            int(columns.at_ms[row]),
            int(columns.frame_id[row]),
            tuple(None if value != value else value for value in times),
            int(columns.dropped[row]),
            columns.names[columns.served[row]],
            columns.readings[before - 1] if before else self._board,
        )

    def _take(self, moments: list[Moment]) -> None:
        best: dict[int, Moment] = {}
        for moment in sorted([*self.moments, *moments], key=lambda one: (-one.total_ms, one.at_ms, one.frame_id)):
            best.setdefault(moment.second, moment)
        self.moments = list(best.values())[:MOST]
