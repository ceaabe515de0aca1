"""Steadiness of a process: the beginning of a run, after its warm-up, against its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, mode

from perception.lab.soak.process import Sample

FEWEST = 5
"""With fewer samples at either end nothing is said."""
SHARE = 10
"""Compared are the first and the last of so many parts. Each lasts LEAST_S and holds two restarts, where halves can."""
RESTARTS = 2
LEAST_S = 30.0


@dataclass(frozen=True)
class Ends:
    """Samples of both ends, with a source that lives: an outage has other threads and sizes."""

    first: Sequence[Sample]
    last: Sequence[Sample]

    @property
    def growth(self) -> float:
        """Of the median memory, as a share of the first one."""
        first, last = self.memory_mib()
        return last / first - 1

    def memory_mib(self) -> tuple[float, float]:
        """Return the medians."""
        return median(one.memory_mib for one in self.first), median(one.memory_mib for one in self.last)

    def threads(self) -> tuple[int, int]:
        """Return the most frequent number at both ends."""
        return mode(one.threads for one in self.first), mode(one.threads for one in self.last)

    def descriptors(self) -> tuple[int, int]:
        """Return the most frequent number at both ends."""
        return mode(one.descriptors for one in self.first), mode(one.descriptors for one in self.last)


def ends_of(samples: Sequence[Sample], warmup_s: float, every_s: float) -> Ends | None:
    """Return both ends of the run after its warm-up; None where that is too short to tell.

    every_s: between two restarts of the source, 0 for none.
    """
    after = [one for one in samples if one.at_s >= warmup_s]
    if not after:
        return None
    span_s = after[-1].at_s - warmup_s
    part_s = min(max(span_s / SHARE, RESTARTS * every_s, LEAST_S), span_s / 2)
    first = [one for one in after if one.live and one.at_s < warmup_s + part_s]
    last = [one for one in after if one.live and one.at_s >= after[-1].at_s - part_s]
    return Ends(first, last) if min(len(first), len(last)) >= FEWEST else None
