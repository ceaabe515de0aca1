"""From the files of a board to the log and the records of a run, with the real threads between them."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from perception.app.sinks import Sinks
from perception.board.poller import Board
from perception.board.sources import SysfsSource
from perception.core.results import Summary
from perception.reporting.logs import TextLog, start_logging
from perception.settings.model import LogSettings, Settings
from perception.system.stop import StopFlag
from tests.board.planting import plant, write
from tests.doubles.fakes import make_report

SUMMARY = Summary(298, 12.1, 13.4, 15.0, 17.2, 41.0, 29.8, 2, 2 / 300)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def frames_until(sinks: Sinks, holds: Callable[[], object]) -> None:
    """Reports frame after frame until something holds."""
    deadline = time.monotonic() + 30
    while not holds():
        sinks.write(make_report(), None)
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.005)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    yield stream
    logger.remove()


@pytest.fixture
def log(stderr: io.StringIO) -> TextLog:
    return start_logging("INFO", None, 0)


def test_a_run_tells_of_the_board_and_of_its_throttling(tmp_path: Path, stderr: io.StringIO, log: TextLog) -> None:
    root, folder = plant("orin-nano-jetpack-6.2", tmp_path / "root"), tmp_path / "logs"
    settings = Settings(log=LogSettings(dir=folder))
    board = Board((SysfsSource(root),), interval_s=0.01)
    with board, Sinks(settings, StopFlag(), log, board.newest) as sinks:
        sinks.at_end(lambda: SUMMARY)
        sinks.write(make_report(), None)
        frames_until(sinks, lambda: any(record["board"] for record in records(folder)))
        write(root, "sys/class/thermal/cooling_device2/cur_state", "1")
        write(root, "sys/class/thermal/thermal_zone1/temp", "99500")
        frames_until(sinks, lambda: "Heat began" in stderr.getvalue() and "Throttling began" in stderr.getvalue())
    said = stderr.getvalue()
    assert "Throttling began: gpu-throttle-alert (gpu " in said
    assert "Heat began: gpu 100 C, 7.2 W, and the board slows itself down from 99 C. Latency before: p50 12.4" in said
    assert "Throttling, or the run, ended after" in said
    assert "dropped 2 (0.7%) | gpu 100 C 7.2 W" in said
    told = [record["board"] for record in records(folder) if record["board"]]
    assert told[0]["temperatures_c"]["gpu"] == 60.781
    assert told[0]["rails_w"]["VDD_IN"] == 7.188
    assert told[-1]["throttling"] == ["gpu-throttle-alert"]
