"""The script as a user starts it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perception.core.results import BoardSnapshot
from perception.workshop.latency.report import SCHEMA
from tests.processes import open_files
from tests.workshop.latency.runs import FP16, HOT, INT8, Step, figures_of, steady, write

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


def test_ctrl_c_ends_it_in_silence(tmp_path: Path) -> None:
    lines = "".join(step.record() for step in steady(20_000)).encode()
    path = tmp_path / "frames.jsonl"
    with path.open("wb") as file:
        for _ in range(60):
            file.write(lines)
    process = subprocess.Popen([sys.executable, SCRIPT, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and path not in open_files(process.pid):
        time.sleep(0.01)
    time.sleep(0.3)  # the file is open before the first of it is read
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_output_that_takes_nothing_is_told_in_a_sentence(run: Path, flags: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, str(SCRIPT), str(run), *flags]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "The output cannot be written: No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("flags", [(), ("--json",), ("--compare",), ("--plot", "x.html"), ("--plot", "x.png")])
def test_an_output_in_another_encoding_and_names_without_any_are_no_fault(
    tmp_path: Path, encoding: str, flags: tuple[str, ...]
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + "/\N{SNOWMAN}é".encode() + b"\xff$\\frac{.jsonl"))
    path.write_text("".join(step.record() for step in steady(300)).replace('"tensorrt"', '"\u30c6é$\\\\frac{"'))
    arguments = [str(path)] * (2 if flags == ("--compare",) else 1)
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments, *flags],
        capture_output=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert "Traceback" not in done.stderr.decode()
    if flags == ("--json",):
        assert json.loads(text)["frames"] == 300
    else:
        assert "12.0" in text


def wide() -> list[Step]:
    """A run whose figures are as wide as they come, with every part of a report."""
    board = BoardSnapshot(temperatures_c={"gpu": 101.5}, power_w=123.25, throttling=("thermal", "power"))
    names = [replace(INT8, name="onnxruntime-with-a-long-name"), FP16]
    return [
        Step(
            9_007_199_254_000_000 + 7 * number,
            number * 0.9,
            123_456.7 + number,
            infer_ms=111_111.1,
            preprocess_ms=1_234.5,
            postprocess_ms=1_234.5,
            dropped=12_345,
            backend=names[number // 100 % 2],
            board=board if number % 2 else None,
        )
        for number in range(400)
    ]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("compare", [False, True])
def test_no_figure_is_cut_at_any_width(tmp_path: Path, columns: int, compare: bool) -> None:
    path = write(tmp_path / "frames.jsonl", wide())
    given = ["--compare", path, path] if compare else [path]
    text = on_a_terminal(columns, [sys.executable, str(SCRIPT), *map(str, given)])
    lines = text.splitlines()
    assert "\u2026" not in text
    assert max(map(len, lines)) <= columns
    report = json.loads(start(path, "--json").stdout)
    for name, found in report["times_ms"].items():
        figures = [found[label] for label in ("mean", "p50", "p95", "p99", "p99_9", "max")]
        for figure in figures:
            assert re.search(rf"(?<![\d.]){re.escape(f'{figure:.1f}')}(?![\d.])", text), (name, figure)
    if not compare:
        for row in report["worst"]:
            assert str(row["frame_id"]) in text
            assert f"{row['total_ms']:.1f}" in text
        assert text.count("123.2 W") + text.count("123.3 W") >= 1
        for row in report["histogram"]:
            assert re.search(rf"(?<!\d){row['frames']:,} ", text)


def on_a_terminal(columns: int, command: list[str]) -> str:
    """Return the output of the command on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, stdin=theirs, env=environment) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            parts.append(part)
        assert process.wait(60) == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(parts).decode())
    return text.replace("\r\n", "\n")


def test_reasons_of_a_board_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl", [Step(n, n / 10, board=HOT) for n in range(30)])
    path.write_text(path.read_text().replace("gpu-throttle-alert", "\\u001b[2J[red]\\u202e"))
    done = start(path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "(?[2J[red]?)" in done.stdout


def test_names_from_a_log_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_text(Step(0, 0).record().replace('"tensorrt"', '"\\u001b[31m[bold]x"'))
    done = start(path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "?[31m[bold]x int8" in done.stdout
