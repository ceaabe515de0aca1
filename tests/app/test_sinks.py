"""Every way out of a run together."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from loguru import logger

from perception.app.sinks import Sinks, text_and_record_bytes
from perception.core.errors import BusyError
from perception.core.results import BoardSnapshot, Summary
from perception.reporting.logs import TextLog, start_logging
from perception.settings.model import LogSettings, RecordSettings, RunSettings, Settings
from perception.system.stop import StopFlag
from tests.doubles.fakes import make_report

SUMMARY = Summary(298, 12.1, 13.4, 15.0, 17.2, 41.0, 29.8, 2, 2 / 300)
MIB = 1 << 20


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The text that goes to stderr."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    yield stream
    logger.remove()


@pytest.fixture
def log(text: io.StringIO) -> TextLog:
    return start_logging("INFO", None, 0)


def messages(text: io.StringIO) -> list[str]:
    return [line.split(" ", 2)[2].split(None, 1)[1] for line in text.getvalue().splitlines()]


def settings(folder: Path, records: bool = True) -> Settings:
    return Settings(log=LogSettings(dir=folder, records=records))


def test_a_report_goes_to_the_line_and_to_the_record(tmp_path: Path, text: io.StringIO, log: TextLog) -> None:
    with Sinks(settings(tmp_path), StopFlag(), log) as sinks:
        sinks.write(make_report(), None)
        sinks.write(make_report(frame_id=8), None)
    assert [said[:39] for said in messages(text)] == ["Vehicle detection: 1 vehicles in 12.4ms"] * 2
    records = [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    assert [record["frame_id"] for record in records] == [7, 8]


def test_records_can_be_switched_off(tmp_path: Path, log: TextLog) -> None:
    with Sinks(settings(tmp_path, records=False), StopFlag(), log) as sinks:
        sinks.write(make_report(), None)
    assert not list(tmp_path.iterdir())


def test_the_summary_of_a_window_is_logged_after_its_last_frame(
    tmp_path: Path, text: io.StringIO, log: TextLog
) -> None:
    with Sinks(settings(tmp_path), StopFlag(), log) as sinks:
        sinks.write(make_report(), SUMMARY)
    assert [said.split(":")[0] for said in messages(text)] == ["Vehicle detection", "Latency over 298 frames"]


@pytest.mark.parametrize("fault", [None, KeyError("a bug")])
def test_every_ending_logs_the_summary(tmp_path: Path, text: io.StringIO, log: TextLog, fault: KeyError | None) -> None:
    def run() -> None:
        with Sinks(settings(tmp_path), StopFlag(), log) as sinks:
            sinks.at_end(lambda: SUMMARY)
            sinks.write(make_report(), None)
            if fault:
                raise fault

    if fault:
        with pytest.raises(KeyError):
            run()
    else:
        run()
    assert messages(text)[-1].startswith("Latency over 298 frames: p50 12.1")


def test_a_run_without_a_frame_has_no_summary(tmp_path: Path, text: io.StringIO, log: TextLog) -> None:
    with Sinks(settings(tmp_path), StopFlag(), log) as sinks:
        sinks.at_end(lambda: None)
    assert messages(text) == []


def test_the_video_is_finished_after_a_fault_too(tmp_path: Path, log: TextLog) -> None:
    path = tmp_path / "out.mp4"

    def run() -> None:
        with Sinks(Settings(log=LogSettings(dir=tmp_path), record=RecordSettings(path=path)), StopFlag(), log) as sinks:
            sinks.write(make_report(), None)
            sinks.write(make_report(), None)
            raise KeyError

    with pytest.raises(KeyError):
        run()
    capture = cv2.VideoCapture(str(path))
    assert capture.read()[0]
    capture.release()


def test_a_video_that_cannot_be_had_is_refused_at_the_start(tmp_path: Path, log: TextLog) -> None:
    wanted = Settings(log=LogSettings(dir=tmp_path), record=RecordSettings(path=tmp_path / "none" / "out.mp4"))
    with pytest.raises(BusyError, match="does not exist"):
        Sinks(wanted, StopFlag(), log)


def test_closing_the_window_asks_the_run_to_stop(tmp_path: Path, log: TextLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda title, image: None)
    keys = iter([-1, ord("q")])
    monkeypatch.setattr(cv2, "waitKey", lambda ms: next(keys))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, name: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    stop = StopFlag()
    with Sinks(Settings(log=LogSettings(dir=tmp_path), run=RunSettings(show=True)), stop, log) as sinks:
        sinks.write(make_report(), None)
        assert not stop.requested
        sinks.write(make_report(), None)
        assert stop.requested


@pytest.mark.parametrize(
    ("file", "records", "shares"),
    [(True, True, (64 * MIB, 192 * MIB)), (True, False, (256 * MIB, 0)), (False, True, (0, 256 * MIB))],
)
def test_the_bound_is_shared_by_what_is_written(file: bool, records: bool, shares: tuple[int, int]) -> None:
    assert text_and_record_bytes(Settings(log=LogSettings(file=file, records=records))) == shares


def test_a_snapshot_of_the_board_goes_to_one_record_and_to_the_summary(
    tmp_path: Path, text: io.StringIO, log: TextLog
) -> None:
    first, second = BoardSnapshot({"gpu": 61.0}, power_w=7.2), BoardSnapshot({"gpu": 62.0}, power_w=7.3)
    told = iter([None, first, first, second, second])
    with Sinks(settings(tmp_path), StopFlag(), log, lambda: next(told)) as sinks:
        sinks.at_end(lambda: SUMMARY)
        for frame_id in range(5):
            sinks.write(make_report(frame_id=frame_id), SUMMARY if frame_id == 2 else None)
    boards = [json.loads(line)["board"] for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    assert [board and board["power_w"] for board in boards] == [None, 7.2, None, 7.3, None]
    summaries = [said for said in messages(text) if said.startswith("Latency")]
    assert [said.rsplit(" | ", 1)[1] for said in summaries] == ["gpu 61 C 7.2 W", "gpu 62 C 7.3 W"]


def test_a_board_that_is_lost_leaves_the_summary(tmp_path: Path, text: io.StringIO, log: TextLog) -> None:
    told = iter([BoardSnapshot({"gpu": 61.0}), None])
    with Sinks(settings(tmp_path), StopFlag(), log, lambda: next(told)) as sinks:
        sinks.write(make_report(), None)
        sinks.write(make_report(), SUMMARY)
    assert messages(text)[-1].endswith("dropped 2 (0.7%)")


def test_throttling_is_warned_of_with_the_latency(tmp_path: Path, text: io.StringIO, log: TextLog) -> None:
    told = iter([None, BoardSnapshot({"gpu": 99.0}, throttling=("gpu-throttle-alert",))])
    with Sinks(settings(tmp_path), StopFlag(), log, lambda: next(told)) as sinks:
        sinks.write(make_report(), None)
        sinks.write(make_report(), None)
    warnings = [said for said in messages(text) if said.startswith("Throttling")]
    assert warnings == [
        "Throttling began: gpu-throttle-alert (gpu 99 C). Latency before: p50 12.4 ms.",
        "Throttling, or the run, ended after 0 s. Latency: p50 unknown during it, 12.4 ms before.",
    ]
