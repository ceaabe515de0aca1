"""frames.jsonl: one record a frame, schema 1."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from loguru import logger

from perception.frame import Report
from perception.reporting.bounded_file import BoundedFile

SCHEMA = 1


def record_of(report: Report, now_s: float) -> dict[str, Any]:
    """The record of one frame. now_s: wall clock, Unix seconds. Times in ms, boxes in pixels of the frame."""
    result, stages, backend = report.result, report.result.stages, report.backend
    found = result.detections
    vehicles = [
        {"class": backend.class_names[class_id], "confidence": round(confidence, 4), "xyxy": [round(v, 1) for v in box]}
        for box, confidence, class_id in zip(found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist())
    ]
    return {
        "schema": SCHEMA,
        "ts": datetime.fromtimestamp(now_s, timezone.utc).isoformat(timespec="milliseconds"),
        "frame_id": report.frame.frame_id,
        "source": report.frame.source,
        "age_ms": round(result.age_ms, 3),
        "preprocess_ms": _rounded(stages.preprocess_ms),
        "infer_ms": _rounded(stages.infer_ms),
        "postprocess_ms": _rounded(stages.postprocess_ms),
        "total_ms": round(result.total_ms, 3),
        "dropped": report.dropped,
        "backend": backend.name,
        "precision": backend.precision,
        "vehicles": vehicles,
        "board": None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


class RecordSink:
    """Writes the record of each frame to `path`, within max_bytes for it and its older files.

    A disk that is full or read-only loses records, with one warning, and nothing else.
    """

    def __init__(self, path: Path, max_bytes: int, wall_clock: Callable[[], float] = time.time) -> None:
        self._file = BoundedFile(path, max_bytes, logger.warning)
        self._wall_clock = wall_clock

    def write(self, report: Report) -> None:
        """Appends one line."""
        record = record_of(report, self._wall_clock())
        self._file.write(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
