"""The default settings file, in a copy of the project in a folder of the test's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perception.system.home import LOCAL, ROOT, SHIPPED, settings_path

COMMANDS = {
    "run": ("pilot.py",),
    "check": ("pilot.py", "check"),
    "doctor": ("scripts/doctor.py",),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("perception", "config", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "local.yaml"))
    for name in ("pilot.py", "detector_service.py"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(project: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=project, capture_output=True, text=True, timeout=100)
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prefers_the_users_copy_and_says_so(project: Path, command: str) -> None:
    (project / LOCAL).write_text("model: {conf: 7}\n")
    said = run(project, *COMMANDS[command])
    assert "config/local.yaml" in said
    assert "model.conf is 7" in said


@pytest.mark.parametrize("command", ["run", "check"])
def test_without_a_copy_the_shipped_settings_are_read_in_silence(project: Path, command: str) -> None:
    (project / SHIPPED).write_text("model: {conf: 7}\n")
    said = run(project, *COMMANDS[command])
    assert "model.conf is 7" in said
    assert "local.yaml" not in said


def test_a_file_that_is_named_goes_before_the_copy(project: Path) -> None:
    (project / LOCAL).write_text("model: {conf: 7}\n")
    (project / "x.yaml").write_text("model: {conf: 8}\n")
    said = run(project, "pilot.py", "check", "--config", "x.yaml")
    assert "model.conf is 8" in said
    assert "local.yaml" not in said


def test_a_copy_that_is_a_link_to_nowhere_is_not_passed_over(project: Path) -> None:
    (project / LOCAL).symlink_to(project / "gone.yaml")
    assert settings_path(project) == project / LOCAL
    assert "does not exist" in run(project, "pilot.py")
