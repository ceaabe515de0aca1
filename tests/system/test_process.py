"""A child that hangs, crashes, floods or leaves its outputs to others: the answer comes, and nothing stays behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from perception.system.process import LAST_BYTES, Answer, CommandRunner, signal_name


def _python(code: str, limit_s: float = 30.0) -> Answer:
    return CommandRunner().run([sys.executable, "-S", "-I", "-c", code], limit_s)


def test_the_answer_of_a_good_child() -> None:
    answer = _python("import sys; print('out'); print('err', file=sys.stderr)")

    assert answer == Answer(0, "out\n", "err\n")
    assert answer.why == ""


def test_a_child_that_fails_gives_its_last_line() -> None:
    answer = _python("raise SystemExit('no such thing')")

    assert answer.why == "it ended with exit code 1: no such thing"


def test_a_child_that_crashes_gives_its_signal() -> None:
    assert _python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").why == "it died of SIGSEGV"


def test_a_child_that_hangs_is_killed_with_its_own_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-I", "-c", "import time; time.sleep(600)"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
"""
    answer = _python(code, 10.0)

    assert answer.why == "no answer within 10 s"
    own, grandchild = (int(pid) for pid in pids.read_text().split())
    assert not Path(f"/proc/{own}").exists()
    _wait_until_gone(grandchild)


def test_a_child_that_ignores_the_wish_to_end_is_killed() -> None:
    code = "import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(600)"

    assert _python(code, 1.0).code is None


def test_of_a_flood_the_end_is_kept() -> None:
    answer = _python("import sys; sys.stdout.write('x' * 10_000_000 + 'end')")

    assert len(answer.out) == LAST_BYTES
    assert answer.out.endswith("xend")


def test_a_grandchild_that_keeps_the_output_open_does_not_hold_up_the_answer() -> None:
    code = """
import subprocess, sys
subprocess.Popen([sys.executable, "-S", "-I", "-c", "import time; time.sleep(600)"])
print("done")
"""
    assert _python(code, 30.0).out == "done\n"


def test_bytes_that_are_no_text() -> None:
    assert _python("import os; os.write(1, bytes([255, 0, 65]))").out == "\ufffd\0A"


@pytest.mark.parametrize("name", ["no-such-command-anywhere", "/etc/hostname/x", "/"])
def test_a_command_that_cannot_be_started_is_an_answer(name: str) -> None:
    answer = CommandRunner().run([name], 1.0)

    assert answer.code is None
    assert name in answer.why


def test_the_end_kills_what_runs_and_starts_no_more(tmp_path: Path) -> None:
    children = CommandRunner(tmp_path)
    answers: list[Answer] = []
    code = "import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)"
    command = [sys.executable, "-S", "-I", "-c", code]
    thread = threading.Thread(target=lambda: answers.append(children.run(command, 60.0)))
    thread.start()
    while not (tmp_path / "started").exists():
        time.sleep(0.02)

    children.end()
    thread.join()

    assert answers[0].why == "it died of SIGKILL"
    assert "leaving" in children.run(command, 60.0).why


def test_a_signal_without_a_name() -> None:
    assert signal_name(999) == "signal 999"


def _wait_until_gone(pid: int) -> None:
    """Returns when the process has ended, a zombie of another parent included; the suite's own limit is the last."""
    while True:
        try:
            os.kill(pid, 0)
            if (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() or ["X"])[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.02)
