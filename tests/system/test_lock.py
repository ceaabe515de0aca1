"""Locks between processes, each of them a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perception.system import lock
from perception.system.home import ROOT
from perception.system.lock import Held, Lock

HOLD = (
    "import sys; from pathlib import Path; from perception.system.lock import Lock\n"
    "lock = Lock(); lock.take(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock on `path` until it is ended."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(params=["file", "folder", "fifo"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    target = tmp_path / "target"
    if request.param == "file":
        target.touch()
    elif request.param == "folder":
        target.mkdir()
    else:
        os.mkfifo(target)
    return target


def test_a_lock_of_another_process_is_refused_with_its_number(path: Path) -> None:
    with another_process(path) as other:
        with pytest.raises(Held) as caught:
            Lock().take(path)
        assert caught.value.pid == other.pid
        assert caught.value.by == f"process {other.pid}"


def test_a_kill_releases_the_lock(path: Path) -> None:
    with another_process(path) as other:
        other.kill()
        other.wait()
        mine = Lock()
        mine.take(path)
        mine.release()


def test_a_lock_that_is_released_can_be_had_by_another(path: Path) -> None:
    mine = Lock()
    mine.take(path)
    mine.take(path)  # already ours
    mine.release()
    mine.release()
    with another_process(path):
        pass


def test_what_takes_the_place_of_the_locked_thing_is_locked_instead(tmp_path: Path) -> None:
    path, old = tmp_path / "video0", tmp_path / "old"
    path.touch()
    mine = Lock()
    mine.take(path)
    path.rename(old)
    path.touch()
    mine.take(path)
    with another_process(old), pytest.raises(Held):
        Lock().take(path)
    mine.release()


def test_a_lock_does_not_change_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("content")
    path.chmod(0o444)
    mine = Lock()
    mine.take(path)
    mine.release()
    assert path.read_text() == "content"


def test_what_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock().take(tmp_path / "none")


def test_a_holder_that_cannot_be_told_is_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCKS", tmp_path / "none")
    with another_process(tmp_path), pytest.raises(Held) as caught:
        Lock().take(tmp_path)
    assert caught.value.by == "another process"
