"""Steadiness of a process by samples from /proc: the beginning of a run, after its warm-up, against its end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, mode
from typing import NamedTuple

FEWEST = 5
"""With fewer samples at either end the run is not judged."""
SHARE = 10
"""The first and the last of SHARE parts are compared. Each lasts LEAST_S and holds two restarts, where halves can."""
RESTARTS = 2
LEAST_S = 30.0


class Sample(NamedTuple):
    """A process at a moment. at_s: since the soak began; the sizes in MiB; cpu_s: used by it so far.

    anonymous_mib: what it has allocated, of rss_mib. live: its source gives pictures, and has for a while.
    """

    at_s: float
    rss_mib: float
    pss_mib: float
    anonymous_mib: float
    swap_mib: float
    threads: int
    descriptors: int
    cpu_s: float
    live: bool

    @property
    def memory_mib(self) -> float:
        """The memory resident and swapped out: moving to swap does not free it."""
        return self.rss_mib + self.swap_mib


def sample(pid: int, at_s: float, live: bool) -> Sample | None:
    """Sample a process of this user; None where it is gone."""
    folder = Path("/proc") / str(pid)
    try:
        sizes = _sizes_mib((folder / "smaps_rollup").read_text())
        # Behind the name, which may hold anything: from the third field on, of which 14 and 15 are ticks (proc(5)).
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return Sample(
            at_s,
            sizes["Rss"],
            sizes["Pss"],
            sizes["Anonymous"],
            sizes["Swap"],
            sum(1 for _ in (folder / "task").iterdir()),
            sum(1 for _ in (folder / "fd").iterdir()),
            (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
            live,
        )
    except (FileNotFoundError, ProcessLookupError, KeyError):  # it ended, also between two of these
        return None


def _sizes_mib(text: str) -> dict[str, float]:
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) / 1024 for row in rows}


@dataclass(frozen=True)
class Ends:
    """Samples of both ends, with a source that lives: an outage has other threads and sizes."""

    first: Sequence[Sample]
    last: Sequence[Sample]

    @property
    def growth(self) -> float:
        """The growth of the median memory, as a share of the first one."""
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
