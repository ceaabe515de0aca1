"""The account of a soak's records: every frame, and the drift of latency and age."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from perception.settings.model import LogSettings
from perception.workshop.latency.columns import Columns, Floats
from perception.workshop.latency.records import RecordReader
from perception.workshop.latency.sequence import FrameSequence

GAP_MS = 1000
SHARE = 10
"""The run is cut into SHARE parts, of which drift compares the first and the last."""
KEPT = ("total", "age")


class Account:
    """Counts the frames that records tell of, in order. It keeps 8 bytes a frame."""

    def __init__(self) -> None:
        self.processed = 0
        self.dropped = 0
        self.sequence = FrameSequence(GAP_MS)
        self._reader = RecordReader()
        self._times = {name: array("f") for name in KEPT}

    def add(self, blocks: Iterable[bytes]) -> None:
        """Take blocks of whole lines of frames.jsonl, those that come next."""
        for block in blocks:
            columns = self._reader.read(block)
            if columns is not None:
                self._add(columns)

    def _add(self, columns: Columns) -> None:
        self.processed += len(columns)
        self.dropped += int(columns.dropped.sum())
        self.sequence.add(columns)
        for name, values in self._times.items():
            values.extend(columns.times[name].tolist())

    @property
    def broken(self) -> int:
        """Lines that are not a record."""
        return self._reader.broken

    @property
    def captured(self) -> int:
        """Frames up to the last one processed: ids count from 0 and include the dropped ones."""
        last = self.sequence.last
        return last.frame_id + 1 if last else 0

    def faults(self) -> list[str]:
        """Return the faults of the account in words: frames that are missing, broken or unaccounted for."""
        counts, first = self.sequence.counts, self.sequence.first
        missing = counts.missing + (first.frame_id - first.dropped if first else 0)
        return _counted(
            {
                "missing": missing,
                "times ids went back": counts.restarts,
                "broken records": self.broken,
                "unaccounted for": abs(self.captured - self.processed - self.dropped - missing),
            }
        )

    def differences(self, lines: int, summary: tuple[int, int]) -> list[str]:
        """Return the differences from the counts of the pilot's log, once it has ended.

        lines: of frames. summary: frames and drops in that of the run, which leaves out the frames of the warm-up.
        """
        warmup = min(LogSettings().warmup_frames, self.processed)
        return _counted(
            {
                "more lines than records": lines - self.processed,
                "more frames in the summary": summary[0] - (self.processed - warmup),
                "more drops in the summary": summary[1] - self.dropped,
            }
        )

    def drift(self) -> dict[str, dict[str, Mapping[str, float]]]:
        """Return percentiles of the first and the last tenth of the frames, by time; empty where there are too few."""
        part = self.processed // SHARE
        if not part:
            return {}
        return {
            f"{name}_ms": {"first": _percentiles(values[:part]), "last": _percentiles(values[-part:])}
            for name, values in self._times.items()
        }

    def figures(self) -> dict[str, Any]:
        """Return all figures for the report."""
        counts = self.sequence.counts
        return {
            "captured": self.captured,
            "processed": self.processed,
            "dropped": self.dropped,
            "missing": counts.missing,
            "ids_went_back": counts.restarts,
            "broken_lines": self.broken,
            "gaps": {
                "longer_than_s": GAP_MS / 1000,
                "count": counts.gaps,
                "total_s": counts.gap_ms / 1000,
                "longest_s": [gap.length_ms / 1000 for gap in self.sequence.gaps],
            },
            "drift": self.drift(),
        }


def _counted(faults: Mapping[str, int]) -> list[str]:
    return [f"{count:,} {what}" for what, count in faults.items() if count]


def _percentiles(values: array[float]) -> dict[str, float]:
    found: Floats = np.asarray(values, np.float64)
    found = found[~np.isnan(found)]
    if not found.size:
        return {}
    names = ("p50", "p99", "max")
    return {name: round(float(value), 3) for name, value in zip(names, np.percentile(found, (50, 99, 100)))}
