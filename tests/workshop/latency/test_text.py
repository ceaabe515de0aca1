"""The text log, and what the real journalctl prints."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from loguru import logger

from perception.core.errors import SettingsError
from perception.core.results import BoardSnapshot, Summary
from perception.reporting.lines import summary_line
from perception.reporting.logs import start_logging
from perception.workshop.latency.logs.sources import Kind, kind_of
from perception.workshop.latency.logs.text import JournalReader, TextReader
from perception.workshop.latency.reading import Query
from tests.needs import path_of
from tests.workshop.latency.runs import FP16, NOW, Step, figures_of, outcome_of, steady, write

SUMMARY = Summary(298, 12.1, 13.4, 15.0, 17.2, 41.0, 29.8, 2, 0.007)


def test_the_text_log_says_what_the_records_say(tmp_path: Path) -> None:
    log = start_logging("INFO", tmp_path / "pilot.log", 2**20)
    try:
        logger.warning("The camera is slow")
        at_s = time.time()
        for number in range(20):
            log.info(replace(Step(number, 0.0, 12.0 + number, preprocess_ms=None), dropped=number % 3).line())
        logger.info(summary_line(SUMMARY))
    finally:
        logger.remove()
    outcome = outcome_of(tmp_path / "pilot.log", query=Query(NOW))
    tally = outcome.tally
    assert (tally.frames, tally.dropped, tally.broken, tally.other) == (20, 19, 0, 2)
    assert abs(tally.sequence.earliest_ms - at_s * 1000) < 2000
    assert (tally.times["total"].max_ms, tally.times["age"].max_ms) == (31.0, 36.0)
    assert tally.times["preprocess"].count == 0
    assert list(tally.sequence.served) == ["tensorrt int8"]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real journal of 50 frames of today, the last five by another backend, and a line that is not of a frame."""
    folder = tmp_path_factory.mktemp("journal")
    start_us = round((time.time() - 3600) * 1e6)
    steps = [replace(step, backend=FP16) if step.frame_id >= 45 else step for step in steady(50)]
    messages = [b"Started", *(step.line().encode() for step in steps), b"Vehicle detection: \xff\xfe"]
    entries = [
        b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n_HOSTNAME=jetson\n_PID=7\n"
        b"SYSLOG_IDENTIFIER=vehicle-pilot\nMESSAGE\n%s%s\n\n"
        % (start_us + n * 33_000, 10**6 + n * 33_000, b"0a" * 16, len(text).to_bytes(8, "little"), text)
        for n, text in enumerate(messages)
    ]
    (folder / "in.export").write_bytes(b"".join(entries))
    command = [path_of("systemd-journal-remote"), "-o", str(folder / "a.journal"), str(folder / "in.export")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "a.journal"


def printed(journal: Path, form: str, to: Path) -> Path:
    found = subprocess.run([path_of("journalctl"), "--file", journal, "-o", form], check=True, capture_output=True)
    to.write_bytes(found.stdout)
    return to


@pytest.mark.parametrize(
    ("form", "step_ms"),
    [
        ("short", 1000),
        ("short-iso", 1000),
        ("short-precise", 1),
        ("short-iso-precise", 1),
        ("short-full", 1000),
        ("short-unix", 1),
        ("json", 1),
    ],
)
def test_every_form_of_journalctl_gives_the_same_frames(tmp_path: Path, journal: Path, form: str, step_ms: int) -> None:
    query = Query(datetime.now(timezone.utc))
    tally = outcome_of(printed(journal, form, tmp_path / form), query=query).tally
    assert tally.frames == 50
    assert tally.sequence.served == {"tensorrt int8": 45, "pytorch fp16": 5}
    assert tally.times["total"].max_ms == 12.0
    assert abs(tally.sequence.latest_ms - tally.sequence.earliest_ms - 49 * 33) <= step_ms
    assert abs(tally.sequence.earliest_ms - (time.time() - 3600) * 1000) < 120_000
    assert tally.broken + tally.other == 2


@pytest.mark.parametrize("form", ["cat", "short-monotonic"])
def test_a_form_without_times_has_figures_but_no_span(tmp_path: Path, journal: Path, form: str) -> None:
    path = printed(journal, form, tmp_path / form)
    found = figures_of(path)
    assert (found["frames"], found["first"], found["span_s"], found["fps"]) == (50, None, None, None)
    assert found["times_ms"]["total"]["max"] == 12.0
    assert found["worst"][0]["at"] is None
    with pytest.raises(SettingsError, match=r"--since and --until cannot be used.*short-iso"):
        outcome_of(path, query=Query(NOW, since_ms=0))


def test_lines_of_frames_that_are_cut_or_odd_are_broken_and_no_other_is() -> None:
    reader = TextReader(NOW)
    good = Step(3, 0.0).line()
    lines = [
        good,
        good[:40],
        good.replace("12.0ms", "nanms"),
        good.replace("12.0ms", "1e9ms"),
        good.replace("12.0ms", "99999999999.0ms"),
        good.replace("frame 3", "frame 9999999999999999"),
        good.replace("frame 3", "frame -1"),
        "nothing of ours",
    ]
    columns = reader.read(("\n".join(lines) + "\n").encode())
    assert columns is not None
    assert len(columns) == 1
    assert (reader.broken, reader.other) == (6, 1)


@pytest.mark.parametrize("line", [b"{", b'{"MESSAGE":"x"}', b'{"__REALTIME_TIMESTAMP":"12x","MESSAGE":"x"}', b"\xff"])
def test_a_line_that_is_no_entry_of_the_journal_is_broken(line: bytes) -> None:
    reader = JournalReader()
    assert reader.read(line + b'\n{"__REALTIME_TIMESTAMP":"1","MESSAGE":null}\n') is None
    assert (reader.broken, reader.other) == (1, 1)


@pytest.mark.parametrize(
    ("board", "expected"),
    [
        (BoardSnapshot(temperatures_c={"gpu": 61.2}, power_w=7.2), (61.0, 7.2)),
        (BoardSnapshot(temperatures_c={"tj": 48.0}), (48.0, None)),
        (BoardSnapshot(power_w=12.25), (None, 12.2)),
    ],
)
def test_the_board_of_a_summary_line_stands_beside_the_worst_moment(
    board: BoardSnapshot, expected: tuple[float | None, float | None]
) -> None:
    stamp = "2026-09-21 12:00:0{}.000 INFO    {}"
    lines = [Step(0, 0).line(), summary_line(SUMMARY, board), Step(1, 0, 30.0).line()]
    columns = TextReader(NOW).read("\n".join(stamp.format(*pair) for pair in enumerate(lines)).encode())
    assert columns is not None
    (reading,) = columns.readings
    assert (reading.temperature_c, reading.power_w) == expected
    assert columns.board_rows.tolist() == [0]
    assert np.diff(columns.at_ms).tolist() == [2000]


def test_throttling_that_began_is_told_by_its_warning() -> None:
    lines = [
        Step(0, 0).line(),
        "Throttling began: gpu-throttle-alert, under-voltage (gpu 97 C, 14.2 W). Latency before: p50 9.1 ms.",
    ]
    columns = TextReader(NOW).read("\n".join(lines).encode())
    assert columns is not None
    (reading,) = columns.readings
    assert reading[1:] == (97.0, 14.2, ("gpu-throttle-alert", "under-voltage"))


def test_what_a_log_holds_is_seen_in_its_first_telling_line(tmp_path: Path) -> None:
    line, record = Step(0, 0).line().encode(), Step(0, 0).record().encode()
    assert kind_of(b"\xff\x00\n" + record) is Kind.RECORDS
    assert kind_of(b"Started\n" + line) is Kind.TEXT
    assert kind_of(b'{"__REALTIME_TIMESTAMP":"1","MESSAGE":"' + line + b'"}') is Kind.JOURNAL
    assert kind_of(b"\x7fELF nothing") is None
    late = tmp_path / "late.log"
    late.write_bytes(b"noise\n" * 500_000 + line + b"\n")
    assert outcome_of(late).tally.frames == 1
    assert outcome_of(write(tmp_path / "odd-name.txt", steady(3))).tally.frames == 3
