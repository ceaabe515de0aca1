"""Samples of a process from /proc: memory, threads, descriptors, processor time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


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
        """Resident and swapped out: what the kernel moves to swap has not been freed."""
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
