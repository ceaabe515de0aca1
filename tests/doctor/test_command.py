"""scripts/doctor.py as a user starts it: on a bare Python, into a pipe, on a terminal, with a hanging interpreter."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest

from perception.doctor import report
from perception.doctor.checks.machine import Machine, disk_usage, this_machine
from perception.doctor.command import wants_color
from perception.doctor.examine import CHECKS, examine, exit_code
from perception.doctor.finding import Check, Finding, Verdict, ok, problem, unknown, warning
from perception.system.home import ROOT
from perception.system.process import CommandRunner
from tests.doctor.trees import Tree
from tests.needs import path_of
from tests.small_disk import small_disk

DOCTOR = ROOT / "scripts" / "doctor.py"


def _run(*words: str | Path, python: tuple[str, ...] = (sys.executable,)) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*python, str(DOCTOR), *map(str, words)], capture_output=True, text=True, timeout=100)


def test_a_bare_python_is_enough() -> None:
    done = _run("--json", python=(sys.executable, "-S", "-I"))

    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert done.returncode == told["exit_code"]
    assert not [row for row in told["findings"] if "the check itself failed" in row["found"]]


def test_it_imports_nothing_but_the_standard_library_and_three_rooms() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import perception.doctor.command, perception.doctor.probe
print(sorted(name for name in sys.modules if name.partition(".")[0] not in sys.stdlib_module_names))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    rooms = {
        "core": ("errors", "heat", "layouts"),
        "system": ("home", "jetson", "own_files", "plain_file", "process", "trusted_file"),
        "board": ("sysfs",),
        "backends": ("tensorrt",),
        "backends.tensorrt": ("engine_file", "described", "sidecar", "identity"),
    }
    allowed = {"perception"} | {f"perception.{room}" for room in rooms}
    allowed |= {f"perception.{room}.{name}" for room, names in rooms.items() for name in names}
    loaded = {name for name in ast.literal_eval(done.stdout) if not name.startswith("perception.doctor")}
    assert loaded - {"__main__"} == allowed


def test_json_tells_each_check_of_a_desk() -> None:
    done = _run("--json", "--config", ROOT / "config" / "demo.yaml")

    told = json.loads(done.stdout)
    assert told["schema"] == report.SCHEMA
    assert {row["check"] for row in told["findings"]} >= {check.name for check in CHECKS if check.on == "any"}
    assert {row["verdict"] for row in told["findings"]} <= {verdict.value for verdict in Verdict}
    assert sum(told["counts"].values()) == len(told["findings"])


def test_an_interpreter_that_hangs_makes_its_findings_unknown_or_problems_and_the_run_ends(tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nsleep 600\n")
    hanging.chmod(0o755)

    told = json.loads(_run("--json", "--python", hanging).stdout)

    findings = {row["check"]: row for row in told["findings"]}
    assert "no answer within 10 s" in findings["opencv"]["found"]
    assert findings["disk"]["verdict"] != "cannot tell"


@pytest.mark.parametrize("python", ["/no/such/python", "/etc/hostname"])
def test_an_interpreter_that_is_none(python: str) -> None:
    done = _run("--python", python)

    assert done.returncode == 1
    assert f"{python} does not run" in done.stdout
    assert done.stderr == ""


@pytest.fixture
def python_3_8() -> str:
    return path_of("python3.8")


def test_python_3_8_is_told_that_it_is_too_old(python_3_8: str) -> None:
    done = _run(python=(python_3_8,))

    assert done.returncode == 1
    assert done.stderr.startswith("The pilot needs Python 3.10 or newer")
    assert len(done.stderr.splitlines()) == 1


def test_a_pilots_python_of_3_8_is_named_so(python_3_8: str) -> None:
    assert "is Python 3.8." in _run("--python", python_3_8).stdout


def test_ctrl_c_ends_it_at_once_without_a_traceback(tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nsleep 600\n")
    hanging.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, str(DOCTOR), "--python", str(hanging)], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)

    _, stderr = process.communicate(timeout=60)

    assert (process.returncode, stderr) == (130, "")
    while _processes_with(str(hanging)):  # killed, but on a busy machine not yet gone; the suite's limit is the last
        time.sleep(0.02)


def _processes_with(words: str) -> list[str]:
    """The commands of all processes that have these words in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace").replace("\0", " "))
    return [command for command in found if words in command]


@pytest.mark.parametrize("config", ["no/such.yaml", "."])
def test_a_settings_file_that_is_none(config: str) -> None:
    done = _run("--config", config)

    assert done.returncode == 1
    assert "is not there" in done.stdout


def test_an_unknown_flag_ends_with_2() -> None:
    assert _run("--jsno").returncode == 2


def test_into_head_it_is_quiet() -> None:
    command = f"{sys.executable} {DOCTOR} | head -1; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100)

    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


def test_a_full_disk_under_the_report_is_said_in_one_sentence() -> None:
    command = f"{sys.executable} {DOCTOR} --json > /dev/full"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100)

    assert done.stderr == "The report cannot be written: No space left on device\n"


def test_a_closed_output_leaves_the_exit_code() -> None:
    done = subprocess.run(["bash", "-c", f"{sys.executable} {DOCTOR} >&-"], capture_output=True, text=True, timeout=100)

    assert done.returncode in (0, 1)
    assert done.stderr == ""


@pytest.mark.parametrize(("words", "colored"), [((), True), (("--no-color",), False)])
def test_on_a_terminal_it_is_coloured_unless_told_otherwise(words: tuple[str, ...], colored: bool) -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([sys.executable, str(DOCTOR), *words], stdout=child, stderr=child, env=environment)
    os.close(child)
    text = b""
    while chunk := _read(parent):
        text += chunk
    os.close(parent)
    assert process.wait(60) in (0, 1)
    assert (b"\033[" in text) == colored


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux gives EIO where the other side is closed
        return b""


@pytest.mark.parametrize(
    ("environment", "expected"), [({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({}, True)]
)
def test_colour_as_the_environment_wants_it(environment: dict[str, str], expected: bool) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    assert wants_color(Terminal(), environment) is expected
    assert wants_color(StringIO(), environment) is False


def test_a_check_that_hangs_is_left_behind(tmp_path: Path) -> None:
    release = threading.Event()

    def hangs(machine: Machine) -> list[Finding]:
        release.wait()
        return []

    checks = (Check("dead", "dead", hangs), Check("good", "good", lambda machine: [ok("fine")]))
    dead, good = examine(Tree("desk", tmp_path).machine, checks, deadline_s=0.2)
    release.set()

    assert "not through after 0.2 s" in dead.finding.found
    assert good.finding.found == "fine"


def test_the_exit_code_counts_problems_alone(tmp_path: Path) -> None:
    def codes(*findings: Finding) -> int:
        check = Check("x", "x", lambda machine: findings)
        return exit_code(examine(machine, (check,)))

    machine = Tree("desk", tmp_path).machine
    assert codes(ok("a"), warning("b", "b", "b"), unknown("c")) == 0
    assert codes(ok("a"), problem("d", "d", "d")) == 1


def test_a_cure_is_never_wrapped_and_no_file_drives_the_terminal(tmp_path: Path) -> None:
    cure = "sudo " + "x " * 100
    finding = problem("a", "bad \x1b]0;title\x07 " + "word " * 40, cure)
    results = examine(Tree("desk", tmp_path).machine, (Check("x", "x", lambda machine: [finding]),))

    lines = list(report.text_lines(results, 80, color=False))

    assert any(line.strip() == f"-> {cure.strip()}" for line in lines)
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "0 ok, 0 warning, 1 problem, 0 cannot tell"


def test_a_disk_that_is_full_read_only_and_not_there_yet(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        roomy = disk_usage(disk.path / "not" / "yet")
        disk.fill()
        full = disk_usage(disk.path)
        disk.make_read_only()
        assert disk_usage(disk.path).read_only
    assert roomy.free_mib > full.free_mib == 0
    assert roomy.device == full.device


def test_what_this_machine_is() -> None:
    machine = this_machine(ROOT, ROOT / "config" / "pilot.yaml", sys.executable, CommandRunner(ROOT).run)

    assert machine.user.uid == os.geteuid()
    assert machine.user.groups
    assert machine.is_same_python(Path(sys.executable))


def _pilot(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "pilot.py"), *words, "--config", str(ROOT / "config" / "demo.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_the_check_of_the_pilot_has_the_doctor_on_request() -> None:
    done = _pilot("check", "--doctor", "--source", "demo://drive?seed=1")

    told = done.stdout.splitlines()
    assert any(re.match(r"(ok|warning) +packages ", line) for line in told)  # a warning where CI has other versions
    assert [line.split()[0] for line in told[-4:]] == ["settings", "model", "backend", "source"]
    problems = [line for line in told if line.startswith("problem")]
    assert done.returncode == bool(problems)


def test_a_fault_of_the_check_goes_before_the_doctors_exit_code() -> None:
    done = _pilot("check", "--doctor", "--conf", "7")

    assert done.returncode == 2
    assert "packages" in done.stdout


def test_a_run_takes_no_doctor() -> None:
    done = _pilot("--doctor")

    assert done.returncode == 2
    assert "--doctor goes with check alone" in done.stderr
