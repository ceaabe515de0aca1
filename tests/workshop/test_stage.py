"""Stages in real children: what they tell, how they end, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perception.core import errors
from perception.core.errors import BuildError, ExportMemoryError, PilotError, SettingsError
from perception.system.home import ROOT
from perception.workshop.stage import run_stage
from perception.workshop.stage_child import KEPT_LINES
from tests.doubles.fakes import FakeClock

MODULE = "tests.workshop.faulty_stage"
PARENT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from perception.workshop.stage import run_stage
if __name__ == "__main__":
    run_stage({MODULE!r}, {{"do": "sleep", "deaf": "deaf" in sys.argv}}, lambda event: print(event["text"], flush=True))
"""


def run(do: str, on_event: Callable[[Mapping[str, Any]], None] = lambda _: None, **more: Any) -> Mapping[str, Any]:
    """The result of the stage of tests/workshop/faulty_stage.py."""
    options = {name: more.pop(name) for name in ("timeout_s", "env", "folder") if name in more}
    return run_stage(MODULE, {"do": do, **more}, on_event, **options)


def lives(pid: int) -> bool:
    """Return True if the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Return True if the process ends in time."""
    deadline = time.monotonic() + within_s
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not lives(pid)


def test_the_result_and_the_events_of_a_stage_come_back_and_no_file_is_left(tmp_path: Path) -> None:
    events: list[Mapping[str, Any]] = []

    result = run("nothing", events.append, path=tmp_path / "a model.onnx", folder=tmp_path)

    assert result == {"do": "nothing", "path": str(tmp_path / "a model.onnx")}
    assert events[:-1] == [
        {"event": "stage", "name": "doing nothing"},
        {"event": "progress", "what": "nothing", "done": 3, "of": 3},
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_a_stage_took_is_told() -> None:
    events: list[Mapping[str, Any]] = []

    run("grow", events.append, mib=200)

    (usage,) = (event for event in events if event["event"] == "usage")
    assert usage["stage"] == "faulty"
    assert 0.01 < usage["seconds"] < 30
    assert 200 < usage["peak_mib"] < 400


def test_a_stage_is_the_first_to_be_killed_and_sees_neither_terminal_nor_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("perception", "json"):  # what stands about must not be taken for ours
        (tmp_path / f"{name}.py").write_text("raise AssertionError")
    monkeypatch.chdir(tmp_path)

    facts = run("facts", env={"STAGE_TEST": "seen"})

    assert facts["oom_score_adj"] >= 500
    assert facts["session"] is True
    assert facts["path"][0] == str(ROOT)
    assert not {"", str(tmp_path)} & set(facts["path"])
    assert facts["env"] == "seen"


@pytest.mark.parametrize(
    "kind", ["SettingsError", "BackendError", "GpuError", "AccuracyError", "BuildError", "ExportMemoryError"]
)
def test_a_fault_that_a_stage_tells_keeps_its_class_words_and_exit_code(kind: str) -> None:
    expected = getattr(errors, kind)

    with pytest.raises(PilotError) as caught:
        run("tell", kind=kind, what="x.onnx is no model")

    assert type(caught.value) is expected
    assert str(caught.value) == "x.onnx is no model. Do this."
    assert caught.value.exit_code == expected.exit_code


def test_a_full_disk_in_a_stage_is_told_as_one() -> None:
    with pytest.raises(SettingsError) as caught:
        run("full_disk")
    assert str(caught.value) == "x.calib cannot be written: No space left on device. Make room on the disk."


def test_a_bug_in_a_stage_is_told_by_its_last_line_and_its_traceback_is_kept(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="ended with exit code 1: TypeError: a bug of ours") as caught:
        run("bug", folder=tmp_path)

    (log,) = tmp_path.iterdir()
    assert str(log) in caught.value.cure
    assert "Traceback (most recent call last):" in log.read_text()
    assert 'in _bug\n    raise TypeError("a bug of ours")' in log.read_text()


def test_a_crash_in_native_code_is_told_by_its_signal_and_what_was_said_before() -> None:
    with pytest.raises(BuildError, match=r"died of SIGSEGV: \[E\] Assertion failed in a library"):
        run("crash")


def test_a_crash_after_the_work_is_done_is_said_and_no_fault() -> None:
    events: list[Mapping[str, Any]] = []

    assert run("crash_at_the_end", events.append)["do"] == "crash_at_the_end"

    said = [event["text"] for event in events if event["event"] == "say"]
    assert said == ["The faulty stage was through, then it died of SIGABRT"]


def test_of_a_stage_that_prints_without_end_the_last_lines_are_kept(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="after much ado"):
        run("flood", folder=tmp_path)

    lines = (tmp_path / "faulty.log").read_text().splitlines()
    assert len(lines) <= KEPT_LINES
    assert "line 4999" in lines
    assert "line 0" not in lines
    assert max(map(len, lines)) <= 65536


def test_a_stage_that_takes_too_long_is_ended_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []
    clock = FakeClock()
    for module in ("workshop.stage_child", "system.process"):
        monkeypatch.setattr(f"perception.{module}.time", SimpleNamespace(monotonic=clock))

    def an_hour_later(event: Mapping[str, Any]) -> None:
        pids.extend(map(int, event["text"].split()))
        clock.now += 3600

    with pytest.raises(BuildError, match="not through after"):
        run("sleep", an_hour_later, timeout_s=1800)

    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def test_what_a_stage_leaves_running_is_ended_too() -> None:
    pids: list[int] = []

    run("leave_a_child", lambda event: pids.extend(int(event[name]) for name in ("text",) if name in event))

    assert gone(pids[0])


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_ends_the_stage_and_is_raised_again(fault: type[BaseException], tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(event: Mapping[str, Any]) -> None:
        pids.extend(map(int, event["text"].split()))
        raise fault

    with pytest.raises(fault):
        run("sleep", interrupt, folder=tmp_path)

    assert all(gone(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], list[int]]]]:
    """Starts a process that runs a stage; gives it with the pids of the stage and of what that started."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> tuple[subprocess.Popen[str], list[int]]:
        process = subprocess.Popen(
            [sys.executable, str(script), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return process, [int(word) for word in process.stdout.readline().split()]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_parent_ends_the_stage_first_and_the_parent_as_it_would(
    number: int, tmp_path: Path, parent: Callable[..., tuple[subprocess.Popen[str], list[int]]]
) -> None:
    process, pids = parent()

    process.send_signal(number)
    process.wait(10)

    assert process.returncode == -number
    assert len(pids) == 2
    assert not any(lives(pid) for pid in pids)
    assert [path.name for path in tmp_path.iterdir()] == ["parent.py"]


def test_a_second_ctrl_c_kills_a_stage_that_does_not_listen(
    parent: Callable[..., tuple[subprocess.Popen[str], list[int]]],
) -> None:
    process, pids = parent("deaf")

    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert lives(pids[0])
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(10)

    assert time.monotonic() - began < 3.0
    assert not any(lives(pid) for pid in pids)


def test_a_parent_that_is_killed_takes_the_stage_with_it(
    parent: Callable[..., tuple[subprocess.Popen[str], list[int]]],
) -> None:
    process, pids = parent("deaf")

    process.kill()

    assert gone(pids[0])
    os.kill(pids[1], signal.SIGKILL)  # what a stage itself starts outlives it then: no stage of ours starts anything


def test_a_stage_that_died_of_memory_is_told_as_such() -> None:
    with pytest.raises(ExportMemoryError) as caught:
        run("eat")

    assert caught.value.exit_code == 6
    assert caught.value.cure
