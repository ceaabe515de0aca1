"""The script as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perception.workshop.latency.report import SCHEMA
from tests.workshop.latency.runs import HOT, Step, figures_of, steady, write

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "latency_report.py"


def start(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "frames.jsonl", [*steady(200), *steady(100, at_s=30), Step(100, 34, 55.0, board=HOT)])


def test_the_report_says_what_happened(run: Path) -> None:
    done = start(run)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "Latency of 301 frames",
        "Served by tensorrt int8 (100.0%)",
        "p99.9",
        "Restarts 1",
        "97.5 C",
        "14.2 W",
    ):
        assert words in done.stdout
    assert "█" in done.stdout


def test_json_is_the_report_and_its_page_names_every_key(run: Path) -> None:
    done = start(run, "--json")
    found = json.loads(done.stdout)
    assert found["schema"] == SCHEMA
    assert found["frames"] == 301
    assert {**found, "logs": []} == {**figures_of(run), "logs": []}
    page = (ROOT / "docs" / "latency_report.md").read_text()
    documented = set(re.findall(r"`(\w+)`", page))

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        return {*value, *set().union(*map(keys, value.values()))} if isinstance(value, dict) else set()

    data = {"gpu-throttle-alert", "tensorrt int8"}
    assert keys(found) - data <= documented
    both = json.loads(start("--compare", run, run, "--json").stdout)
    assert keys(both) - data <= documented


def test_two_runs_side_by_side(tmp_path: Path, run: Path) -> None:
    slow = write(tmp_path / "slow.jsonl", steady(100, total_ms=24.0))
    done = start("--compare", run, slow)
    assert done.returncode == 0
    assert "A is faster: the median total of B is 2.00 times as long." in done.stdout
    change = json.loads(start("--compare", run, slow, "--json").stdout)["differences"]["times_ms"]["total"]["p50"]
    assert change == {
        "a": pytest.approx(12, rel=1e-3),
        "b": pytest.approx(24, rel=1e-3),
        "change": pytest.approx(12, rel=1e-3),
        "change_share": pytest.approx(1, rel=2e-3),
    }
    assert start("--compare", run).returncode == 2


def test_a_log_comes_through_a_pipe(run: Path) -> None:
    with run.open("rb") as file:
        done = start("-", "--json", stdin=file)
    assert json.loads(done.stdout)["frames"] == 301
    piped = subprocess.run(
        f"gzip -c '{run}' | '{sys.executable}' '{SCRIPT}' - --json", shell=True, capture_output=True, text=True
    )
    assert json.loads(piped.stdout)["frames"] == 301
    os.mkfifo(run.with_name("fifo"))
    named = subprocess.run(
        f"cat '{run}' > fifo & '{sys.executable}' '{SCRIPT}' fifo --json",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=run.parent,
    )
    assert json.loads(named.stdout)["frames"] == 301


def test_since_a_span_that_begins_with_a_dash(run: Path) -> None:
    done = start(run, "--since", "-2h", "--until", "now")
    assert done.returncode == 2
    assert "no frame lies in the time asked for" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.jsonl"], "none.jsonl cannot be read (No such file or directory)"),
        ([str(SCRIPT)], "is a frame of the pilot. It takes frames.jsonl"),
        (["/dev/null"], "/dev/null: empty"),
        ([str(ROOT / "config")], "has neither frames.jsonl nor pilot.log"),
        ([str(ROOT / "models" / "vehicle-n.onnx")], "is a frame of the pilot"),
        ([str(SCRIPT), "--since", "soon"], "--since 'soon' is no moment"),
        ([str(SCRIPT), "--since", "now", "--until", "-1h"], "is later than --until"),
        ([str(SCRIPT), "--plot", "x.pdf"], "the name must end in .png or .html"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = start(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 12


def test_a_drawing_into_a_folder_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = start(str(SCRIPT), "--plot", "none/x.png", cwd=tmp_path)
    assert done.returncode == 3
    assert "--plot none/x.png: the folder none does not exist. Create it" in done.stderr
    assert done.stdout == ""


def test_a_reader_that_goes_away_is_no_fault(run: Path) -> None:
    for flags in ("", "--json"):
        command = f"'{sys.executable}' '{SCRIPT}' '{run}' {flags} | head -1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == 1


def test_ctrl_c_ends_it_and_its_processes_in_silence(tmp_path: Path) -> None:
    lines = "".join(step.record() for step in steady(20_000)).encode()
    path = tmp_path / "frames.jsonl"
    with path.open("wb") as file:
        for _ in range(60):
            file.write(lines)
    process = subprocess.Popen(
        [sys.executable, SCRIPT, path, "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and sum(_has_open(path, pid) for pid in children.read_text().split()) < 2:
        time.sleep(0.01)  # the two are at work: one that is just being started would say so itself
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    deadline = time.monotonic() + 30  # the tracker of Python's own resources ends a moment after the others
    while time.monotonic() < deadline and _runs(process.pid):
        time.sleep(0.01)
    assert not _runs(process.pid)


def _has_open(path: Path, pid: str) -> bool:
    try:
        return any(link.readlink() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it has ended, or a file was closed meanwhile
        return False


def _runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_names_from_a_log_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_text(Step(0, 0).record().replace('"tensorrt"', '"\\u001b[31m[bold]x"'))
    done = start(path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "?[31m[bold]x int8" in done.stdout
