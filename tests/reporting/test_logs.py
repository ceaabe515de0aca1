"""The text log: where it goes, how a line looks, and streams that take no more."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from perception.reporting.logs import TextLog, goes_to_journal, start_logging
from perception.settings.model import LogSettings, Settings
from perception.system.home import ROOT
from tests.processes import open_files

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"


@pytest.fixture(autouse=True)
def _silence_afterwards() -> Iterator[None]:
    yield
    logger.remove()


class Stderr:
    """All that went to stderr so far."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self._seen = ""

    @property
    def text(self) -> str:
        self._seen += self._capture.readouterr().err
        return self._seen


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Stderr:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    return Stderr(capfd)


def make_it_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(sys.stderr.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")


def say(log: TextLog, way: str, message: str) -> None:
    """Logs at INFO by either way."""
    if way == "loguru":
        logger.info(message)
    else:
        log.info(message)


@pytest.mark.parametrize("way", ["loguru", "direct"])
def test_a_line_has_its_time_its_level_and_its_text_on_stderr_and_in_the_file(
    stderr: Stderr, tmp_path: Path, way: str
) -> None:
    log = start_logging("INFO", tmp_path / "logs" / "pilot.log", 1 << 20)
    say(log, way, "Vehicle detection: 1 vehicles in 12.4ms")
    assert re.fullmatch(rf"{STAMP} INFO    Vehicle detection: 1 vehicles in 12\.4ms\n", stderr.text)
    assert (tmp_path / "logs" / "pilot.log").read_text() == stderr.text


def test_both_ways_to_log_a_line_keep_their_order_and_their_looks(stderr: Stderr) -> None:
    log = start_logging("INFO", None, 0)
    for number in range(6):
        say(log, ("loguru", "direct")[number % 2], f"line {number}")
    looks = [re.fullmatch(rf"({STAMP}) INFO    line (\d)", line) for line in stderr.text.splitlines()]
    assert [match and match[2] for match in looks] == list("012345")
    stamps = [match[1] for match in looks if match]
    assert stamps == sorted(stamps)


def test_levels_are_told(stderr: Stderr) -> None:
    start_logging("DEBUG", None, 0)
    logger.warning("a")
    logger.error("b")
    assert [line.split()[2:] for line in stderr.text.splitlines()] == [["WARNING", "a"], ["ERROR", "b"]]


@pytest.mark.parametrize(("level", "said"), [("DEBUG", "dlow"), ("INFO", "low"), ("WARNING", "w"), ("ERROR", "")])
def test_less_than_the_level_is_not_logged_by_either_way(stderr: Stderr, level: str, said: str) -> None:
    log = start_logging(level, None, 0)
    logger.debug("d")
    logger.info("l")
    log.info("o")
    logger.warning("w")
    assert "".join(line[-1] for line in stderr.text.splitlines()) == said


def test_the_level_can_change_while_the_program_runs(stderr: Stderr) -> None:
    log = start_logging("INFO", None, 0)
    for level in ("ERROR", "DEBUG"):
        log.apply(Settings(log=LogSettings(level=level)))
        logger.debug(f"d {level}")
        log.info(f"o {level}")
    assert [line.split()[-2:] for line in stderr.text.splitlines()] == [["d", "DEBUG"], ["o", "DEBUG"]]


@pytest.mark.parametrize("way", ["loguru", "direct"])
@pytest.mark.parametrize("text", ["{braces} {0} {}", "100% %s %d", "<red>tags</red>", "back\\slash", "Straße 車"])
def test_no_character_of_a_message_is_taken_for_a_command(stderr: Stderr, tmp_path: Path, way: str, text: str) -> None:
    log = start_logging("INFO", tmp_path / "pilot.log", 1 << 20)
    say(log, way, text)
    assert stderr.text.endswith(f" {text}\n")
    assert (tmp_path / "pilot.log").read_text(encoding="utf-8").endswith(f" {text}\n")


@pytest.mark.parametrize("way", ["loguru", "direct"])
def test_under_systemd_the_text_goes_to_the_journal_alone_and_without_a_stamp(
    stderr: Stderr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    make_it_the_journal(monkeypatch)
    log = start_logging("INFO", tmp_path / "logs" / "pilot.log", 1 << 20)
    say(log, way, "hello")
    assert stderr.text == "hello\n"
    assert not (tmp_path / "logs").exists()


def test_the_journal_is_told_how_grave_a_line_is(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    make_it_the_journal(monkeypatch)
    start_logging("DEBUG", None, 0)
    for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        logger.log(level, level)
    assert stderr.text.splitlines() == ["<7>DEBUG", "INFO", "<4>WARNING", "<3>ERROR", "<3>CRITICAL"]


def test_the_journal_is_known_by_device_and_inode(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not goes_to_journal(sys.stderr)
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")  # inherited by a child whose stderr was sent elsewhere
    assert not goes_to_journal(sys.stderr)
    make_it_the_journal(monkeypatch)
    assert goes_to_journal(sys.stderr)


def test_a_stream_without_a_file_is_not_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    assert not goes_to_journal(io.StringIO())
    assert not goes_to_journal(None)


def test_a_later_start_replaces_the_earlier_one_and_closes_its_file(stderr: Stderr, tmp_path: Path) -> None:
    start_logging("INFO", tmp_path / "one.log", 1 << 20)
    logger.info("a")
    start_logging("INFO", tmp_path / "two.log", 1 << 20)
    logger.info("b")
    assert [line[-1] for line in stderr.text.splitlines()] == ["a", "b"]
    assert (tmp_path / "one.log").read_text().endswith(" a\n")
    assert (tmp_path / "two.log").read_text().endswith(" b\n")
    assert tmp_path / "two.log" in open_files(os.getpid())
    assert tmp_path / "one.log" not in open_files(os.getpid())


def test_a_log_file_that_cannot_be_written_is_said_once_on_stderr_and_the_text_still_goes_there(
    stderr: Stderr, tmp_path: Path
) -> None:
    (tmp_path / "logs").write_text("")
    log = start_logging("INFO", tmp_path / "logs" / "pilot.log", 1 << 20)
    logger.info("a")
    log.info("b")
    said = stderr.text.splitlines()
    assert len(said) == 3
    assert [line for line in said if "cannot be written" in line] == [
        f"{tmp_path}/logs/pilot.log cannot be written (File exists): lines are lost until it can"
    ]


def test_the_text_log_is_bounded(stderr: Stderr, tmp_path: Path) -> None:
    log = start_logging("INFO", tmp_path / "logs" / "pilot.log", 4000)
    for number in range(200):
        log.info(f"line {number}")
    assert sum(file.stat().st_size for file in (tmp_path / "logs").iterdir()) <= 4000
    assert (tmp_path / "logs" / "pilot.log").read_text().endswith("line 199\n")


def test_a_fault_never_shows_the_values_of_variables(stderr: Stderr) -> None:
    start_logging("INFO", None, 0)
    password = "hunter2"
    try:
        raise RuntimeError("broken") if password else KeyError
    except RuntimeError:
        logger.exception("a bug")
    assert "RuntimeError: broken" in stderr.text
    assert "hunter2" not in stderr.text.replace('password = "hunter2"', "")


@pytest.mark.parametrize("way", ["loguru", "direct"])
def test_a_closed_stderr_costs_its_lines_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    reading, writing = os.pipe()
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr(sys, "stderr", stream := os.fdopen(writing, "w", buffering=1))
    log = start_logging("INFO", tmp_path / "pilot.log", 1 << 20)
    os.close(reading)
    for number in range(3):
        say(log, way, f"line {number}")
    assert [line[-1] for line in (tmp_path / "pilot.log").read_text().splitlines()] == ["0", "1", "2"]
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_program_without_stderr_still_writes_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    start_logging("INFO", tmp_path / "pilot.log", 1 << 20)
    logger.info("hello")
    assert (tmp_path / "pilot.log").read_text().endswith(" hello\n")


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    script = """
import threading
from loguru import logger
from perception.reporting.logs import start_logging
log = start_logging("INFO", None, 0)
def talk(way):
    for number in range(300):
        way("x" * 200)
threads = [threading.Thread(target=talk, args=(way,)) for way in (logger.info, log.info) * 2]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert len(lines) == 1200
    assert all(re.fullmatch(rf"{STAMP} INFO    x{{200}}", line) for line in lines)


def test_no_character_that_a_terminal_or_a_reader_of_lines_would_obey_leaves(stderr: Stderr, tmp_path: Path) -> None:
    log = start_logging("INFO", tmp_path / "pilot.log", 1 << 20)
    bad = "a\x1b[2Jb\r\nFORGED\u2028c\x9bd\u202ee\x00\udcff"
    logger.warning(bad)
    log.info(bad)
    try:
        raise ValueError(f"{bad}\nFORGED")
    except ValueError:
        logger.exception("a bug")
    for text in (stderr.text, (tmp_path / "pilot.log").read_text()):
        assert [one for one in text if not one.isprintable() and one != "\n"] == []
        assert [line for line in text.split("\n") if not re.match(rf"{STAMP} |    |\Z", line)] == []
        assert text.count(r"a\x1b[2Jb\r\nFORGED\u2028c\x9bd\u202ee\x00\udcff") == 2


def test_no_credential_leaves_by_a_message_or_a_traceback(stderr: Stderr) -> None:
    start_logging("INFO", None, 0)
    url = "rtsp://admin:hunter2@cam/1?token=hunter2"
    logger.warning(f"{url} is lost")
    try:
        raise ValueError(url)
    except ValueError:
        logger.exception("a bug")
    assert "hunter2" not in stderr.text
    assert "rtsp://***@cam/1?*** is lost" in stderr.text


TWO_PILOTS = """
import sys
from pathlib import Path
from perception.core.errors import BusyError
from perception.reporting.logs import start_logging
try:
    start_logging("INFO", Path(sys.argv[1]) / "pilot.log", 1 << 20)
except BusyError as fault:
    sys.exit(str(fault))
"""


def test_a_folder_of_logs_belongs_to_one_pilot_with_or_without_records(stderr: Stderr, tmp_path: Path) -> None:
    log = start_logging("INFO", tmp_path / "pilot.log", 1 << 20)
    command = [sys.executable, "-c", TWO_PILOTS, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{tmp_path} is being written by another pilot (process {os.getpid()})" in done.stderr
    assert "Give each pilot its own folder: log.dir." in done.stderr
    log.stop()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60).returncode == 0
