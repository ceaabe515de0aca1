"""A file that another user puts under a name that root is about to use is left alone, and nothing else changes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perception.app.failed_exports import FailureNote
from perception.backends.tensorrt.place import Place, work_folder
from perception.camera import exclusive
from perception.camera.exclusive import lock_camera
from perception.camera.uri import parse
from perception.core.errors import BackendError, SettingsError
from perception.system.bounded_file import BoundedFile
from perception.system.home import ROOT
from perception.system.own_files import NotMine, private_folder, read_mine
from perception.workshop.accuracy.command import default_cache
from perception.workshop.accuracy.model_run import read
from perception.workshop.build.calibration_cache import CacheKey, CalibrationCache
from perception.workshop.calibration import set_paths
from tests import strangers

pytestmark = [strangers.needs_root, pytest.mark.needs("python3")]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return strangers.shared_folder(tmp_path / "shared")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("precious\n")
    (folder / "file").chmod(0o640)
    return folder


def test_a_private_folder_is_made_and_taken_again_for_this_user_alone(shared: Path) -> None:
    for mode in (0o700, 0o755):
        private_folder(shared / "mine")
        assert stat.S_IMODE((shared / "mine").stat().st_mode) == 0o700
        (shared / "mine").chmod(mode)


@pytest.mark.parametrize("kind", ["link to a folder", "link to nothing", "folder", "file", "pipe"])
def test_nothing_of_a_stranger_is_taken_for_a_private_folder(shared: Path, outside: Path, kind: str) -> None:
    name = shared / "mine"
    {
        "link to a folder": lambda: strangers.link(name, outside),
        "link to nothing": lambda: strangers.link(name, outside / "new"),
        "folder": lambda: strangers.folder(name),
        "file": lambda: strangers.file(name),
        "pipe": lambda: strangers.as_stranger("os.mkfifo(sys.argv[1])", name),
    }[kind]()
    before = strangers.state_of(outside), strangers.state_of(shared)
    with pytest.raises(NotMine):
        private_folder(name)
    assert (strangers.state_of(outside), strangers.state_of(shared)) == before


def test_the_work_of_an_export_goes_into_nothing_of_a_stranger(shared: Path, outside: Path) -> None:
    strangers.folder(shared / ".work")
    strangers.link(shared / ".work-0", outside)
    before = strangers.state_of(outside), strangers.state_of(shared)
    with pytest.raises(SettingsError, match=r"/\.work-0 cannot be used: it is a link") as caught:
        work_folder(shared)
    assert f"sudo rm -r {shared}/.work-0" in caught.value.cure
    assert default_cache(shared) is None
    assert (strangers.state_of(outside), strangers.state_of(shared)) == before


def test_one_name_taken_leaves_the_other(shared: Path, outside: Path) -> None:
    strangers.link(shared / ".work", outside)
    before = strangers.state_of(outside)
    assert work_folder(shared) == shared / ".work-0"
    assert strangers.state_of(outside) == before


@pytest.mark.parametrize("how", ["its owner", "all", "a group"])
def test_nobody_else_may_exchange_the_folder_in_which_work_is_made(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "engines"
    folder.mkdir(mode=0o755)
    if how == "its owner":
        os.chown(folder, strangers.UID, strangers.UID)
    else:
        os.chown(folder, 0, strangers.UID)
        folder.chmod(0o777 if how == "all" else 0o775)
    with pytest.raises(SettingsError, match="could exchange what is made there"):
        work_folder(folder)
    assert list(folder.iterdir()) == []


def test_the_lock_of_a_camera_is_taken_through_no_link(
    shared: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(exclusive, "FOLDER", shared)
    strangers.link(shared / "vehicle-pilot.csi.0.lock", outside / "made")
    strangers.link(shared / "vehicle-pilot.csi.1.lock", outside / "file")
    strangers.folder(shared / "vehicle-pilot.csi.2.lock")
    before = strangers.state_of(outside)
    for sensor in range(3):
        lock_camera(parse(f"csi://{sensor}")).release()
    assert strangers.state_of(outside) == before
    assert [line.partition(" is used without a lock")[1] != "" for line in logged] == [True] * 3


def test_the_lock_file_of_another_users_pilot_is_one(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "FOLDER", shared)
    strangers.file(shared / "vehicle-pilot.csi.0.lock")
    held = lock_camera(parse("csi://0"))
    assert held._target == ((status := (shared / "vehicle-pilot.csi.0.lock").stat()).st_dev, status.st_ino)
    held.release()


def test_what_a_stranger_says_of_a_failed_export_keeps_nobody_from_one_in_silence(shared: Path) -> None:
    memory = FailureNote(Place(shared, "m"), {"model": 1})
    strangers.file(shared / "m.failed.json", '{"schema": 1, "inputs": {"model": 1}, "what": "never"}')
    with pytest.raises(BackendError, match=r"m\.failed\.json cannot be used: it belongs to 1234") as caught:
        memory.failed_before()
    assert "sudo rm" in caught.value.cure


KEY = CacheKey("a", "b", "c", "entropy", (1, 3, 64, 64), "10.3")


def read_calibration(path: Path) -> object:
    return CalibrationCache(path, "m", KEY).read()


@pytest.mark.parametrize("way", ["file", "link"])
@pytest.mark.parametrize(
    ("name", "reads"), [(CalibrationCache(Path(), "m", KEY).path.name, read_calibration), ("look.npz", None)]
)
def test_no_cache_of_a_stranger_is_read(
    shared: Path, tmp_path: Path, way: str, name: str, reads: Callable[[Path], object] | None
) -> None:
    mine = tmp_path / "own"
    mine.mkdir()
    CalibrationCache(mine, "m", KEY).write(b"ranges")
    assert read_calibration(mine) == b"ranges"
    content = next(mine.iterdir()).read_text()
    if way == "file":
        strangers.file(shared / name, content)
    else:
        strangers.link(shared / name, next(mine.iterdir()))
    if reads:
        assert reads(shared) is None
    else:
        with pytest.raises(NotMine):
            read(shared / name)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_log_is_written_through_nothing_of_a_stranger_and_waits_for_nobody(
    shared: Path, outside: Path, kind: str
) -> None:
    path, told = shared / "pilot.log", list[str]()
    {
        "link": lambda: strangers.link(path, outside / "file"),
        "pipe": lambda: strangers.as_stranger("os.mkfifo(sys.argv[1])", path),
        "folder": lambda: strangers.folder(path),
    }[kind]()
    before = strangers.state_of(outside)
    log = BoundedFile(path, 10_000, told.append)
    log.write(b"line\n")
    log.close()
    assert strangers.state_of(outside) == before
    assert [f"{path} cannot be written" in line for line in told] == [True]


def test_a_link_that_this_user_made_is_followed(shared: Path, outside: Path) -> None:
    (shared / "pilot.log").symlink_to(outside / "file")
    log = BoundedFile(shared / "pilot.log", 10_000, pytest.fail)
    log.write(b"line\n")
    log.close()
    assert (outside / "file").read_text() == "precious\nline\n"
    assert read_mine(shared / "pilot.log") == b"precious\nline\n"


def test_what_looks_like_left_from_a_killed_calibration_is_a_strangers_and_stays(shared: Path) -> None:
    place = set_paths.SetPaths(shared / "set", shared / "set.yaml")
    strangers.folder(shared / f"{place.making}x")
    with set_paths.staging(place):
        pass
    assert (shared / f"{place.making}x").is_dir()


def test_under_any_umask_nothing_is_for_all_to_write(tmp_path: Path) -> None:
    (tmp_path / "pilot.yaml").write_text(
        "source: {uri: 'demo://drive?seed=1'}\nallow_cpu: true\nmodel: {weights: vehicle-n.onnx}\n"
        "log: {dir: out/logs}\nrecord: {truth: truth.jsonl}\nrun: {max_frames: 3}\n"
    )
    code = "import os, sys; os.umask(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", code, str(ROOT / "pilot.py"), "--config", "pilot.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    written = [path for path in tmp_path.rglob("*") if path.name != "pilot.yaml"]
    assert {path.name for path in written} == {"out", "logs", "pilot.log", "frames.jsonl", "truth.jsonl"}
    assert [path.name for path in written if path.stat().st_mode & 0o002] == []
