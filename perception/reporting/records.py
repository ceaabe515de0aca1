"""frames.jsonl: one record per frame, schema 1."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from perception.core.results import BoardSnapshot, Report
from perception.reporting.vehicles import SCHEMA, moment, quoted, rounded_fields, vehicles_json
from perception.system.bounded_file import BoundedFile


def record_line(report: Report, now_s: float) -> str:
    """Return the record of one frame as a line of JSON. now_s: wall clock, Unix seconds. Times in ms, boxes in pixels.

    Written by hand: a dictionary and the json module cost twice as much, after an inference that has filled the caches.
    Every text goes through the json module's own quoting.
    """
    result, stages, backend = report.result, report.result.stages, report.backend
    return (
        f'{{"schema":{SCHEMA},"ts":"{moment(now_s)}","frame_id":{report.frame.frame_id},'
        f'"source":{quoted(report.frame.source)},"age_ms":{result.age_ms:.3f},'
        f'"preprocess_ms":{_ms(stages.preprocess_ms)},"infer_ms":{_ms(stages.infer_ms)},'
        f'"postprocess_ms":{_ms(stages.postprocess_ms)},"total_ms":{result.total_ms:.3f},"dropped":{report.dropped},'
        f'"backend":{quoted(backend.name)},"precision":{quoted(backend.precision)},'
        f'"vehicles":[{vehicles_json(result.detections, backend.class_names)}],"board":{_board(report.board)}}}\n'
    )


def _board(board: BoardSnapshot | None) -> str:
    return "null" if board is None else json.dumps(rounded_fields(board), separators=(",", ":"))


def _ms(value: float | None) -> str:
    return "null" if value is None else f"{value:.3f}"


class RecordSink:
    """Writes the record of each frame to `path`, within max_bytes for it and its older files.

    A disk that is full or read-only loses records, with one warning, and nothing else.
    """

    def __init__(self, path: Path, max_bytes: int, wall_clock: Callable[[], float] = time.time) -> None:
        self._file = BoundedFile(path, max_bytes, logger.warning)
        self._wall_clock = wall_clock

    def write(self, report: Report) -> None:
        """Append one line."""
        self._file.write(record_line(report, self._wall_clock()).encode("utf-8", "replace"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
