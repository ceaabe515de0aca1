"""The sources of a board snapshot, and how they are merged: kernel, then jetson-stats, then NVML."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

from perception.board import sysfs
from perception.core.results import BoardSnapshot

# Events a second that slow the device down noticeably. Instantaneous ones last about 1 ms at half the clocks and are
# normal in the highest power modes: twenty a second cost about 2 % of the time. The others should never come.
OC_RATES_HZ = {"under-voltage": 0.0, "average over-current": 0.0, "instantaneous over-current": 20.0}
# The firmware publishes its counts in bursts, about every 2 s: a rate over less says nothing.
OC_WINDOW_S = 5.0


class Source(Protocol):
    """Reads the board. Used by one thread; may raise, and may be slow."""

    name: str

    def read(self) -> BoardSnapshot | None:
        """Return what can be read now; None where this machine has nothing to read, and never will."""

    def close(self) -> None: ...


class SysfsSource:
    """The kernel's own files under `root`. clock: monotonic seconds."""

    name = "sysfs"

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._throttle_from_c = sysfs.throttle_points_c(root)
        self._cpu_times = sysfs.cpu_times(root)
        self._events: deque[tuple[float, dict[str, int]]] = deque()

    def read(self) -> BoardSnapshot:
        """Never raises; what is absent stays empty."""
        root = self._root
        rails_w, memory, mode = sysfs.rails_w(root), sysfs.memory(root), sysfs.power_mode(root)
        gpu, cpu, emc = sysfs.gpu(root), sysfs.cpu(root), sysfs.emc(root)
        oc_events = sysfs.oc_events(root)
        return BoardSnapshot(
            temperatures_c=sysfs.temperatures_c(root),
            throttle_from_c=self._throttle_from_c,
            power_w=sysfs.total_w(rails_w),
            rails_w=rails_w,
            gpu_load=gpu.load,
            gpu_clock_hz=gpu.clock_hz,
            gpu_clock_max_hz=gpu.clock_max_hz,
            cpu_load=self._cpu_load(),
            cpu_clock_hz=cpu.clock_hz,
            cpu_clock_max_hz=cpu.clock_max_hz,
            emc_load=emc.load,
            emc_clock_hz=emc.clock_hz,
            emc_clock_max_hz=emc.clock_max_hz,
            memory_total_mib=memory.total_mib,
            memory_available_mib=memory.available_mib,
            swap_total_mib=memory.swap_total_mib,
            swap_used_mib=memory.swap_used_mib,
            power_mode=(mode.name or str(mode.mode_id)) if mode else None,
            throttling=(*sysfs.throttling(root), *self._frequent(oc_events)),
            oc_events=oc_events,
        )

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def _cpu_load(self) -> float | None:
        before, after = self._cpu_times, sysfs.cpu_times(self._root)
        self._cpu_times = after
        if not before or not after or after[1] <= before[1]:
            return None
        return min(max((after[0] - before[0]) / (after[1] - before[1]), 0.0), 1.0)

    def _frequent(self, events: dict[str, int]) -> list[str]:
        """Return the kinds that came more often than OC_RATES_HZ over the last OC_WINDOW_S."""
        now = self._clock()
        self._events.append((now, events))
        while len(self._events) > 2 and self._events[1][0] <= now - OC_WINDOW_S:
            self._events.popleft()
        since, before = self._events[0]
        elapsed = max(now - since, OC_WINDOW_S)
        return [kind for kind, n in events.items() if (n - before.get(kind, n)) / elapsed > OC_RATES_HZ[kind]]


def merged(snapshots: Iterable[BoardSnapshot]) -> BoardSnapshot | None:
    """Merge snapshots into one: each figure from the first that has it. None for none."""
    known = list(snapshots)
    if not known:
        return None
    names = [field.name for field in fields(BoardSnapshot)]
    return BoardSnapshot(**{name: _joined([getattr(snapshot, name) for snapshot in known]) for name in names})


def _joined(told: list[Any]) -> Any:
    if isinstance(told[0], Mapping):
        return {name: figure for figures in reversed(told) for name, figure in figures.items()}
    if isinstance(told[0], tuple):
        return tuple(dict.fromkeys(reason for reasons in told for reason in reasons))
    return next((figure for figure in told if figure is not None), None)
