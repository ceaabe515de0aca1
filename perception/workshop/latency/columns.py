"""Frames as columns, which every reader returns and every count takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perception.workshop.latency.board_reading import Reading

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NO_TIME = int(np.iinfo(np.int64).min)
"""Stands for a moment that a log does not have."""
LONGEST_MS = 1e9
"""A longer time (12 days) cannot be that of a frame: its line counts as broken."""
HIGHEST_ID = 2**53
LONGEST_NAME = 64
STAGES = ("preprocess", "infer", "postprocess")
TIMES = (*STAGES, "total", "age")


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """n frames in the order in which they were logged.

    at_ms: (n,) Unix milliseconds, or NO_TIME. frame_id, dropped: (n,). times: by name of TIMES, (n,) ms, NaN where a
    stage is not known. served: (n,) places in `names`, each a backend and its precision. board_rows: (m,) the frame
    that each of the m `readings` came with.
    """

    at_ms: Integers
    frame_id: Integers
    dropped: Integers
    times: dict[str, Floats]
    served: Integers
    names: tuple[str, ...]
    board_rows: Integers
    readings: tuple[Reading, ...]

    def __len__(self) -> int:
        return len(self.at_ms)

    def between(self, since_ms: int | None, until_ms: int | None) -> Columns:
        """Return the frames from since_ms to until_ms, both included; None leaves an end open."""
        if since_ms is None and until_ms is None:
            return self
        keep = np.ones(len(self), bool) if since_ms is None else self.at_ms >= since_ms
        if until_ms is not None:
            keep &= self.at_ms <= until_ms
        if keep.all():
            return self
        row_after = np.cumsum(keep) - 1
        stays = keep[self.board_rows]
        return Columns(
            self.at_ms[keep],
            self.frame_id[keep],
            self.dropped[keep],
            {name: values[keep] for name, values in self.times.items()},
            self.served[keep],
            self.names,
            row_after[self.board_rows[stays]],
            tuple(reading for reading, kept in zip(self.readings, stays.tolist()) if kept),
        )


def places(labels: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
    """Return each label as its place among the distinct ones, (n,), and the distinct ones in order of appearance."""
    names = {name: place for place, name in enumerate(dict.fromkeys(labels))}
    if len(names) == 1:
        return np.zeros(len(labels), np.int64), tuple(names)
    return np.fromiter(map(names.__getitem__, labels), np.int64, len(labels)), tuple(names)
