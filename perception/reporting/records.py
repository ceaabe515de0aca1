"""frames.jsonl: one record a frame, schema 1."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime, timezone
from json.encoder import encode_basestring, encode_basestring_ascii
from pathlib import Path

from loguru import logger

from perception.core.frame import BoardSnapshot, Detections, Report
from perception.reporting.figures import rounded
from perception.system.bounded_file import BoundedFile

SCHEMA = 1


def record_line(report: Report, now_s: float) -> str:
    """The record of one frame as a line of JSON. now_s: wall clock, Unix seconds. Times in ms, boxes in pixels.

    Written out by hand: a dictionary and the json module cost twice as much, after an inference that has filled the
    caches. Every text goes through the json module's own quoting.
    """
    result, stages, backend = report.result, report.result.stages, report.backend
    moment = datetime.fromtimestamp(now_s, timezone.utc).isoformat(timespec="milliseconds")
    return (
        f'{{"schema":{SCHEMA},"ts":"{moment}","frame_id":{report.frame.frame_id},'
        f'"source":{_quoted(report.frame.source)},"age_ms":{result.age_ms:.3f},'
        f'"preprocess_ms":{_ms(stages.preprocess_ms)},"infer_ms":{_ms(stages.infer_ms)},'
        f'"postprocess_ms":{_ms(stages.postprocess_ms)},"total_ms":{result.total_ms:.3f},"dropped":{report.dropped},'
        f'"backend":{_quoted(backend.name)},"precision":{_quoted(backend.precision)},'
        f'"vehicles":[{_vehicles(result.detections, backend.class_names)}],"board":{_board(report.board)}}}\n'
    )


def _quoted(text: str) -> str:
    """The text as JSON has it; what cannot be printed, which a terminal would obey, as an escape."""
    return encode_basestring(text) if text.isprintable() else encode_basestring_ascii(text)


def _vehicles(found: Detections, names: Mapping[int, str]) -> str:
    return ",".join(
        f'{{"class":{_quoted(names[class_id])},"confidence":{confidence:.4f},'
        f'"xyxy":[{left:.1f},{top:.1f},{right:.1f},{bottom:.1f}]}}'
        for (left, top, right, bottom), confidence, class_id in zip(
            found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist()
        )
    )


def _board(board: BoardSnapshot | None) -> str:
    """Every figure of a snapshot, rounded to what it can tell; the keys are the fields of BoardSnapshot."""
    if board is None:
        return "null"
    figures = {field.name: rounded(getattr(board, field.name)) for field in fields(board)}
    return json.dumps(figures, separators=(",", ":"))


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
        """Appends one line."""
        self._file.write(record_line(report, self._wall_clock()).encode("utf-8", "replace"))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
