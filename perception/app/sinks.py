"""All sinks of a run, opened from the settings and written as one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

from loguru import logger

from perception.app.footage import parsed
from perception.app.meter import Meter
from perception.camera.feed import Feed
from perception.core.errors import SettingsError
from perception.core.results import BackendInfo, BoardSnapshot, Report, Summary
from perception.reporting.lines import frame_line, summary_line
from perception.reporting.logs import TextLog
from perception.reporting.records import RecordSink
from perception.reporting.thermal import ThermalWatch
from perception.reporting.truth import TruthSink
from perception.settings.model import Settings, WebSettings
from perception.system.stop import StopFlag

if TYPE_CHECKING:
    from perception.reporting.annotate import WindowSink
    from perception.reporting.mqtt.sink import MqttSink
    from perception.reporting.web.server import WebPage

# The records are the larger part: a record is about three times as long as its line.
RECORDS_SHARE = 0.75


class Service(Protocol):
    """An open DetectorService, which stands above this room."""

    @property
    def info(self) -> BackendInfo: ...

    @property
    def passed_over(self) -> Sequence[str]: ...

    def __enter__(self) -> Service: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Sink(Protocol):
    """Takes the report of each frame."""

    def write(self, report: Report) -> None: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Sink)


class LineSink:
    """Logs the line of each frame."""

    def __init__(self, log: TextLog) -> None:
        self._log = log

    def write(self, report: Report) -> None:
        """Log one line."""
        self._log.info(frame_line(report))

    def close(self) -> None:
        """Do nothing: the program owns the log."""


class Sinks:
    """All sinks of a run. A context manager that closes each, also after a fault."""

    def __init__(
        self,
        settings: Settings,
        stop: StopFlag,
        log: TextLog,
        board: Callable[[], BoardSnapshot | None] = lambda: None,
    ) -> None:
        """board: the newest figures of the board, the same object until there are others; it is asked for every frame.

        Raises SettingsError for a video or a window that cannot be had, BusyError for what is in use or not there yet.
        """
        self._stack = ExitStack()
        self._board = board
        self._snapshot: BoardSnapshot | None = None
        self._thermal = ThermalWatch()
        self._stop = stop
        self._window: WindowSink | None = None
        self._mqtt: MqttSink | None = None
        self._web: WebPage | None = None
        self._log = log
        self._sinks: list[Sink] = []
        self._records: RecordSink | None = None
        self._open(settings)
        self._stack.callback(self._close_records)
        self._stack.callback(self._thermal.close)

    def _open(self, settings: Settings) -> None:
        """Open every sink that is asked for; the first one is closed last."""
        source = parsed(settings.source.uri)
        if source is None or source.scheme == "demo":
            self._add(TruthSink(settings.record.truth, settings.record.overwrite))
        elif settings.record.truth:
            raise SettingsError("--truth needs a source that knows the truth", "Use it with --source demo://drive.")
        self._add(LineSink(self._log))
        self.apply(settings)
        if settings.run.show:
            from perception.reporting.annotate import WindowSink

            self._window = self._add(WindowSink())
        if settings.record.path:
            from perception.reporting.recording.recorder import Recorder

            self._add(Recorder(settings.record))
        if settings.mqtt.host:
            from perception.reporting.mqtt.sink import MqttSink

            self._mqtt = self._add(MqttSink(settings.mqtt))
        if settings.web.bind:
            self._web = self._add(_open_page(settings.web, settings.web.bind))

    def _add(self, sink: S) -> S:
        self._sinks.append(sink)
        self._stack.callback(sink.close)
        return sink

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def follow(self, service: Service, source: Feed, meter: Meter) -> None:
        """Let the page and the broker report these as well from here on."""
        if self._web:
            from perception.reporting.web.overview import RunStatus

            self._web.follow(
                lambda: RunStatus(service.passed_over, meter.backend, source.label, source.state, meter.latest)
            )
        if self._mqtt:
            self._mqtt.follow(lambda: source.state)

    def turn(self) -> None:
        """Note that the loop turns, with or without a frame."""
        if self._web:
            self._web.turn(self._board())

    def at_end(self, summary: Callable[[], Summary | None]) -> None:
        """Set the function that returns the summary which every ending logs."""
        self._stack.callback(lambda: _log_summary(summary(), self._snapshot))

    def apply(self, settings: Settings) -> None:
        """Take over log.records. Raises BusyError where another pilot writes into their folder."""
        if settings.log.records == (self._records is not None):
            return
        text_bytes, record_bytes = text_and_record_bytes(settings)
        if self._records is None:
            self._log.claim(settings.log_dir)  # the folder, not the file, which is renamed when it is full
            self._records = RecordSink(settings.log_dir / "frames.jsonl", record_bytes)
            self._sinks.append(self._records)
        else:
            self._close_records()
        self._log.limit(text_bytes)

    def _close_records(self) -> None:
        if self._records is not None:
            self._sinks.remove(self._records)
            self._records.close()
            self._records = None

    def write(self, report: Report, summary: Summary | None) -> None:
        """Hand the report to every sink, and log the summary where a window has ended."""
        report = self._with_board(report)
        for sink in self._sinks:
            sink.write(report)
        _log_summary(summary, self._snapshot)
        if self._window and self._window.closed:
            self._stop.requested = True

    def _with_board(self, report: Report) -> Report:
        self._thermal.add(report.result.total_ms)
        snapshot = self._board()
        if snapshot is self._snapshot:
            return report
        self._snapshot = snapshot
        if snapshot is not None:
            self._thermal.see(snapshot)
        return replace(report, board=snapshot)


def _open_page(settings: WebSettings, bind: str) -> WebPage:
    try:
        from perception.reporting.web.server import WebPage
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"web.bind: {sys.executable} lacks the package {missing.name!r}", "See requirements.txt."
        ) from None
    return WebPage(settings, bind)


def _log_summary(summary: Summary | None, board: BoardSnapshot | None) -> None:
    if summary:
        logger.info(summary_line(summary, board))


def text_and_record_bytes(settings: Settings) -> tuple[int, int]:
    """Return the bytes of log.max_mib that the text log and the records get; records get all where there is no text."""
    total = settings.log.max_mib * 2**20
    records = total if not settings.log.file else round(total * RECORDS_SHARE) if settings.log.records else 0
    return total - records, records
