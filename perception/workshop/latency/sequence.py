"""Counts of missing ids, gaps in time, restarts and changes of the backend between one frame and the next."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perception.workshop.latency.columns import NO_TIME, Columns, Integers

MOST_EVENTS = 500
"""At most this many restarts and changes are kept with their moment; all are counted."""
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


class FrameSequence:
    """Counts over frames in order, the same in whatever blocks they come."""

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
        """Count the frames that come next, at least one."""
        names, served = columns.names, columns.served
        counts = np.bincount(served, minlength=len(names)).tolist()
        self._count_served({name: count for name, count in zip(names, counts) if count})
        at_ms, ids, dropped = columns.at_ms, columns.frame_id, columns.dropped
        known = at_ms[at_ms != NO_TIME]
        if known.size:
            self._widen(int(known.min()), int(known.max()))
        if self.last is None:
            self.first = Edge(int(at_ms[0]), int(ids[0]), int(dropped[0]), names[served[0]])
        else:
            names = (*names, self.last.name)
            at_ms, ids, dropped, served = (
                np.insert(values, 0, before)
                for values, before in zip((at_ms, ids, dropped, served), (*self.last[:3], names.index(self.last.name)))
            )
        self._pairs(at_ms, ids, dropped, served, names)
        self.last = Edge(int(at_ms[-1]), int(ids[-1]), int(dropped[-1]), names[served[-1]])

    def _pairs(
        self, at_ms: Integers, ids: Integers, dropped: Integers, served: Integers, names: tuple[str, ...]
    ) -> None:
        """Look at each frame and the one after it."""
        timed = (at_ms[:-1] != NO_TIME) & (at_ms[1:] != NO_TIME)
        step_ms = np.where(timed, at_ms[1:] - np.where(timed, at_ms[:-1], at_ms[1:]), 0)
        step_ids = np.diff(ids)
        restart, change = step_ids <= 0, np.diff(served) != 0
        gap, back = step_ms > self._gap_ms, step_ms < 0
        steady = timed & ~gap & ~back
        counts = self.counts
        counts.missing += int(np.where(restart, 0, np.maximum(step_ids - 1 - dropped[1:], 0)).sum())
        counts.intervals += int(steady.sum())
        counts.active_ms += int(step_ms[steady].sum())
        counts.gaps += int(gap.sum())
        counts.gap_ms += int(step_ms[gap].sum())
        counts.clock_steps += int(back.sum())
        counts.restarts += int(restart.sum())
        counts.changes += int(change.sum())
        gaps = [Gap(int(step_ms[row]), int(at_ms[row]), bool(restart[row])) for row in _largest(step_ms, gap)]
        self.gaps = heapq.nlargest(LONGEST_GAPS, [*self.gaps, *gaps])
        room = MOST_EVENTS - len(self.events)
        events = [
            Event(int(at_ms[row + 1]), kind, names[served[row]], names[served[row + 1]])
            for row in np.flatnonzero(restart | change)[:room].tolist()
            for kind, happened in (("restart", restart[row]), ("change", change[row]))
            if happened
        ]
        self.events = [*self.events, *events][:MOST_EVENTS]

    def _count_served(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            known = name in self.served or len(self.served) < MOST_NAMES
            self.served[name if known else OTHER_NAMES] += count

    def _widen(self, earliest_ms: int, latest_ms: int) -> None:
        self.earliest_ms = earliest_ms if self.latest_ms == NO_TIME else min(self.earliest_ms, earliest_ms)
        self.latest_ms = max(self.latest_ms, latest_ms)


def _largest(step_ms: Integers, gap: npt.NDArray[np.bool_]) -> list[int]:
    """Return the rows of the longest gaps; of equal ones all, so that the order in which they come changes nothing."""
    rows = np.flatnonzero(gap)
    if rows.size > LONGEST_GAPS:
        rows = rows[step_ms[rows] >= np.partition(step_ms[rows], -LONGEST_GAPS)[-LONGEST_GAPS]]
    return [int(row) for row in rows]
