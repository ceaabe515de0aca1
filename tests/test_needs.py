"""The marker `needs`: tools that tests ask for, advice on those that are missing, and a suite that runs in parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perception.system.home import ROOT
from tests import needs

TEST = f"{Path('tests', 'reporting', 'test_lines.py')}"
ASKS = re.compile(r"shutil\.which|importorskip|find_spec\(\"|/usr/s?bin/(python|ffmpeg|mosquitto|gst|chromium)")


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run of its own, without what this one was told."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-q", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env={**outer, **environment}, capture_output=True, text=True, timeout=100)


def test_what_is_missing_is_told_in_one_line_for_each_way_of_bringing_it() -> None:
    reasons = ["needs ffprobe, ffmpeg", "no GPU", "needs g++", "needs g++", "needs tensorrt-10", "needs data"]
    assert needs.advice(reasons) == [
        "Skipped for want of a tool: 5. With these they run, too:",
        "sudo apt-get install --no-install-recommends ffmpeg g++",
        "make .venv-trt10/.ready",
        "And: PILOT_DATA=FOLDER, of clips and weights.",
    ]
    assert needs.advice(["no GPU"]) == []


def test_a_tool_that_nobody_knows_stops_the_run(request: pytest.FixtureRequest) -> None:
    request.node.add_marker(pytest.mark.needs("a-tool-of-no-name"))
    with pytest.raises(pytest.UsageError, match="a-tool-of-no-name"):
        needs.missing_of(request.node)


def test_no_test_looks_for_a_tool_by_itself() -> None:
    here = Path(__file__)
    files = [path for path in (ROOT / "tests").rglob("*.py") if path not in (here, here.with_name("needs.py"))]
    assert [path.name for path in files if ASKS.search(path.read_text())] == []


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_second_part_leaves_out_what_passed_in_the_first(tmp_path: Path, processes: str) -> None:
    listed = tmp_path / "passed"
    first = run(TEST, "--list-passed", listed, "-n", processes)
    assert first.returncode == 0, first.stdout
    names = listed.read_text().splitlines()
    assert names and all(name.startswith(f"{TEST}::") for name in names)
    listed.write_text("".join(f"{name}\n" for name in names[1:]))
    second = run(TEST, "--leave-out", listed, "-n", processes)
    assert second.returncode == 0, second.stdout
    assert re.search(r"^1 passed", second.stdout, re.MULTILINE)


def test_the_last_lines_say_what_to_install_and_in_ci_a_missing_tool_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    test = Path("tests", "workshop", "quantize", "test_graph.py")  # two of its tests need the data
    without = {"PILOT_DATA": "", "PATH": str(tmp_path / "bin")}
    done = run(test, "-k", "yolov8", **without)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "Skipped for want of a tool: 1. With these they run, too:",
        "And: PILOT_DATA=FOLDER, of clips and weights.",
    ]
    done = run(test, "-k", "yolov8", **without, CI="true")
    assert done.returncode == 1
    assert "skipped in CI for a reason that is not allowed there: needs data" in done.stdout
