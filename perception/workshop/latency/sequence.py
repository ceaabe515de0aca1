"""What lies between one frame and the next: missing ids, gaps in time, restarts, changes of the backend."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perception.workshop.latency.columns import NO_TIME, Columns, Integers

MOST_EVENTS = 500
"""So many restarts and changes are kept with their moment; all are counted."""
LONGEST_GAPS = 5
MOST_NAMES = 50
OTHER_NAMES = "others"


class Event(NamedTuple):
    """kind: "restart" or "change". at_ms: of the first frame after it, NO_TIME where unknown."""

    at_ms: int
    kind: str
    before: str
    after: str


class Gap(NamedTuple):
    """A time without a frame, in milliseconds; at_ms: of the frame before it. restart: ids began again after it."""

    length_ms: int
    at_ms: int
    restart: bool


class Edge(NamedTuple):
    """The first or the last frame of a stretch."""

    at_ms: int
    frame_id: int
    dropped: int
    name: str


@dataclass
class Counts:
    """missing: ids between two frames that were not counted as dropped either. clock_steps: times that run backwards.

    intervals, active_ms: pairs of frames less than a gap apart, and the time between them.
    """

    missing: int = 0
    intervals: int = 0
    active_ms: int = 0
    gaps: int = 0
    gap_ms: int = 0
    clock_steps: int = 0
    restarts: int = 0
    changes: int = 0

    def add(self, other: Counts) -> None:
        """Adds each count of `other`."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Sequence:
    """Counts over frames in order; two of them over neighbouring stretches merge into what one would have counted."""

    def __init__(self, gap_ms: int) -> None:
        """gap_ms: a longer time between two frames is a gap."""
        self._gap_ms = gap_ms
        self.first: Edge | None = None
        self.last: Edge | None = None
        self.earliest_ms = NO_TIME
        self.latest_ms = NO_TIME
        self.counts = Counts()
        self.gaps: list[Gap] = []
        self.events: list[Event] = []
        self.served: Counter[str] = Counter()

    def add(self, columns: Columns) -> None:
        """Takes the frames that come next, at least one."""
        names, served = columns.names, columns.served
        first, last = (
            Edge(int(columns.at_ms[row]), int(columns.frame_id[row]), int(columns.dropped[row]), names[served[row]])
            for row in (0, -1)
        )
        self._join(first)
        self._pairs(columns.at_ms, columns.frame_id, columns.dropped, served, names)
        self.last = last
        counts = np.bincount(served, minlength=len(names)).tolist()
        self._count_served({name: count for name, count in zip(names, counts) if count})
        known = columns.at_ms[columns.at_ms != NO_TIME]
        if known.size:
            self._widen(int(known.min()), int(known.max()))

    def merge(self, other: Sequence) -> None:
        """Takes what `other` has counted over the frames that come next."""
        if other.first is None:
            return
        self._join(other.first)
        self.last = other.last
        self.counts.add(other.counts)
        self._keep(other.gaps, other.events)
        self._count_served(other.served)
        if other.latest_ms != NO_TIME:
            self._widen(other.earliest_ms, other.latest_ms)

    def _join(self, first: Edge) -> None:
        """Looks at the pair of the last frame so far and the first of what comes next."""
        if self.last is None:
            self.first = first
            return
        at_ms, ids, dropped = (np.asarray(pair, np.int64) for pair in zip(self.last[:3], first[:3]))
        served = np.asarray([0, int(first.name != self.last.name)])
        self._pairs(at_ms, ids, dropped, served, (self.last.name, first.name))

    def _pairs(
        self, at_ms: Integers, ids: Integers, dropped: Integers, served: Integers, names: tuple[str, ...]
    ) -> None:
        """Looks at each frame and the one after it."""
        timed = (at_ms[:-1] != NO_TIME) & (at_ms[1:] != NO_TIME)
        step_ms = np.where(timed, at_ms[1:] - np.where(timed, at_ms[:-1], at_ms[1:]), 0)
        step_ids = np.diff(ids)
        restart, change = step_ids <= 0, np.diff(served) != 0
        gap, back = step_ms > self._gap_ms, step_ms < 0
        steady = timed & ~gap & ~back
        missing = np.where(restart, 0, np.maximum(step_ids - 1 - dropped[1:], 0))
        self.counts.add(
            Counts(
                int(missing.sum()),
                int(steady.sum()),
                int(step_ms[steady].sum()),
                int(gap.sum()),
                int(step_ms[gap].sum()),
                int(back.sum()),
                int(restart.sum()),
                int(change.sum()),
            )
        )
        gaps = [Gap(int(step_ms[row]), int(at_ms[row]), bool(restart[row])) for row in _largest(step_ms, gap)]
        room = MOST_EVENTS - len(self.events)
        events = [
            Event(int(at_ms[row + 1]), kind, names[served[row]], names[served[row + 1]])
            for row in np.flatnonzero(restart | change)[:room].tolist()
            for kind, happened in (("restart", restart[row]), ("change", change[row]))
            if happened
        ]
        self._keep(gaps, events)

    def _keep(self, gaps: list[Gap], events: list[Event]) -> None:
        self.gaps = heapq.nlargest(LONGEST_GAPS, [*self.gaps, *gaps])
        self.events = [*self.events, *events][:MOST_EVENTS]

    def _count_served(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            known = name in self.served or len(self.served) < MOST_NAMES
            self.served[name if known else OTHER_NAMES] += count

    def _widen(self, earliest_ms: int, latest_ms: int) -> None:
        self.earliest_ms = earliest_ms if self.latest_ms == NO_TIME else min(self.earliest_ms, earliest_ms)
        self.latest_ms = max(self.latest_ms, latest_ms)


def _largest(step_ms: Integers, gap: npt.NDArray[np.bool_]) -> list[int]:
    """The rows of the longest gaps; of equal ones all, so that the order in which they come changes nothing."""
    rows = np.flatnonzero(gap)
    if rows.size > LONGEST_GAPS:
        rows = rows[step_ms[rows] >= np.partition(step_ms[rows], -LONGEST_GAPS)[-LONGEST_GAPS]]
    return [int(row) for row in rows]
