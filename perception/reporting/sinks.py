"""Every way out of a run, opened from the settings and written as one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from loguru import logger

from perception.config import Settings
from perception.errors import SettingsError
from perception.frame import Report, Summary
from perception.reporting.lines import frame_line, summary_line
from perception.reporting.logs import TextLog
from perception.reporting.records import RecordSink
from perception.reporting.truth import TruthSink
from perception.stop import StopFlag

# The records are the larger part: a record is about three times as long as its line.
RECORDS_SHARE = 0.75


class Sink(Protocol):
    """Takes the report of each frame."""

    def write(self, report: Report) -> None: ...

    def close(self) -> None: ...


class LineSink:
    """Logs the line of each frame."""

    def __init__(self, log: TextLog) -> None:
        self._log = log

    def write(self, report: Report) -> None:
        """Logs one line."""
        self._log.info(frame_line(report))

    def close(self) -> None:
        """Nothing to close: the program owns the log."""


class Sinks:
    """All sinks of a run. A context manager that closes each, also after a fault."""

    def __init__(self, settings: Settings, stop: StopFlag, log: TextLog) -> None:
        """Raises SettingsError for a video or a window that cannot be had."""
        self._stack = ExitStack()
        self._stop = stop
        self._window = None
        self._sinks: list[Sink] = [LineSink(log)]
        if settings.log.records:
            limit = round(text_and_record_bytes(settings)[1])
            self._sinks.append(RecordSink(settings.log_dir / "frames.jsonl", limit))
        demo = settings.source.uri.strip().lower().startswith("demo:")
        if settings.record.truth and not demo:
            raise SettingsError("--truth needs a source that knows the truth", "Use it with --source demo://drive.")
        if settings.record.path or settings.run.show:
            from perception.reporting.video import VideoSink, WindowSink

            if settings.record.path:
                self._sinks.append(VideoSink(settings.record.path))
            if settings.run.show:
                self._window = WindowSink()
                self._sinks.append(self._window)
        if demo:
            self._sinks.insert(0, TruthSink(settings.record.truth))  # closed last, so that its line is the last
        for sink in self._sinks:
            self._stack.callback(sink.close)

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def at_end(self, summary: Callable[[], Summary | None]) -> None:
        """Asks for the summary that every ending logs."""
        self._stack.callback(lambda: _log_summary(summary()))

    def write(self, report: Report, summary: Summary | None) -> None:
        """Hands the report to every sink, and logs the summary where a window has ended."""
        for sink in self._sinks:
            sink.write(report)
        _log_summary(summary)
        if self._window and self._window.closed:
            self._stop.requested = True


def _log_summary(summary: Summary | None) -> None:
    if summary:
        logger.info(summary_line(summary))


def text_and_record_bytes(settings: Settings) -> tuple[int, int]:
    """How log.max_mib is shared by the text log and the records, in bytes; records get all where there is no text."""
    total = settings.log.max_mib * 2**20
    records = total if not settings.log.file else round(total * RECORDS_SHARE) if settings.log.records else 0
    return total - records, records
