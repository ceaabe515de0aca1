"""The time axis of a plot: local days since 1970, as matplotlib counts them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from perception.workshop.latency.columns import Floats, Integers
from perception.workshop.latency.plot.timeline import Bins

DAY_MS = 86_400_000
SNAPSHOTS_APART_MS = 3000
"""The board is read once a second: throttling goes on from one snapshot to the next."""


class Times:
    """The bins that have frames, with a break where the log has a gap."""

    def __init__(self, bins: Bins, gap_s: float) -> None:
        self.bins = bins
        used = np.flatnonzero(bins.frames)
        far = np.diff(bins.start_ms[used]) > max(gap_s * 1000, 3 * bins.width_ms) + bins.width_ms
        self._used, self._breaks = used, np.flatnonzero(far) + 1
        self.width = bins.width_ms / DAY_MS
        # A break lies where the frame after it does: its figures are NaN, so that nothing is drawn up to there.
        self.at = (
            local_days(np.insert(bins.start_ms[used], self._breaks, bins.start_ms[used][self._breaks])) + self.width / 2
        )

    def of(self, values: Floats | Integers) -> Floats:
        """Return the figures of the bins with the breaks between them."""
        return np.insert(np.asarray(values[self._used], np.float64), self._breaks, np.nan)

    def throttled(self) -> list[tuple[float, float]]:
        """Return the stretches in which the board slowed itself down."""
        bins = self.bins
        flagged = np.flatnonzero(bins.throttled)
        if not flagged.size:
            return []
        apart = np.flatnonzero(np.diff(flagged) * bins.width_ms > SNAPSHOTS_APART_MS + bins.width_ms)
        first, last = flagged[np.insert(apart + 1, 0, 0)], flagged[np.append(apart, -1)]
        return list(
            zip(local_days(bins.start_ms[first]).tolist(), (local_days(bins.start_ms[last]) + self.width).tolist())
        )

    def step(self) -> str:
        """Return the length of a bin in words."""
        seconds = self.bins.width_ms / 1000
        for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
            if seconds >= size:
                return f"{seconds / size:.2g} {unit}"
        return f"{seconds:.2g} s"

    def label(self, axis: Axes, last: bool) -> None:
        """Format the time axis."""
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axis.tick_params(labelbottom=last)
        first, final = local_days(self.bins.start_ms[[0, -1]]).tolist()
        axis.set_xlim(first, final + self.width)
        if last:
            axis.set_xlabel(f"local time ({_zone(int(self.bins.start_ms[0]))})")


def local_days(at_ms: Integers) -> Floats:
    """Return Unix milliseconds as local days, with the offset of the first moment throughout."""
    offset = (_local(int(at_ms.flat[0])).utcoffset() if at_ms.size else None) or timedelta()
    return np.asarray(at_ms / DAY_MS + offset / timedelta(days=1), np.float64)


def _local(at_ms: int) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=at_ms)).astimezone()


def _zone(at_ms: int) -> str:
    offset = f"{_local(at_ms):%z}"
    return f"UTC{offset[:3]}:{offset[3:5]}"
