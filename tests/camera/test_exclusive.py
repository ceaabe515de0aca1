"""One camera, one pilot."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.camera import exclusive, opencv
from perception.camera.capture import UnusableSource
from perception.camera.exclusive import lock_camera
from perception.camera.opencv import open_csi, open_v4l2
from perception.camera.uri import parse
from perception.core.errors import SourceError
from perception.settings.model import SourceSettings
from tests.system.test_lock import another_process


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(exclusive, "FOLDER", tmp_path)
    monkeypatch.setattr(opencv, "has_gstreamer", lambda: True)
    return tmp_path


def test_a_usb_camera_of_another_pilot_is_refused_with_its_process(tmp_path: Path) -> None:
    device, link = tmp_path / "video0", tmp_path / "by-id"
    device.touch()
    link.symlink_to(device)
    with another_process(device) as other:
        for name in (device, link):
            with pytest.raises(UnusableSource, match=f"{name} is in use by another pilot .process {other.pid}."):
                open_v4l2(parse(f"v4l2://{name}"), SourceSettings())


def test_a_csi_camera_of_another_pilot_is_refused_and_another_sensor_is_not(folder: Path) -> None:
    lock_camera(parse("csi://0")).release()
    with another_process(folder / "vehicle-pilot.csi.0.lock") as other:
        with pytest.raises(UnusableSource, match=f"csi://0 is in use by another pilot .process {other.pid}."):
            open_csi(parse("csi://0"), SourceSettings())
        lock_camera(parse("csi://1")).release()


@pytest.mark.parametrize("name", ["v4l2", "csi"])
def test_a_camera_that_does_not_open_is_not_kept_from_others(folder: Path, name: str) -> None:
    device = folder / "video0"
    device.touch()
    uri = parse(f"v4l2://{device}" if name == "v4l2" else "csi://0")
    with pytest.raises(SourceError):
        (open_v4l2 if name == "v4l2" else open_csi)(uri, SourceSettings())
    lock_camera(uri, device if name == "v4l2" else None).release()


def test_a_camera_that_a_hung_call_of_this_process_holds_may_come_free_again(folder: Path) -> None:
    uri = parse("csi://0")
    held = lock_camera(uri)
    with pytest.raises(SourceError, match="still held by a call that hangs in its driver") as caught:
        lock_camera(uri)
    assert not isinstance(caught.value, UnusableSource)
    held.release()


def test_without_a_folder_for_locks_a_camera_is_used_with_one_warning(folder: Path, logged: list[str]) -> None:
    exclusive.FOLDER = folder / "none"  # put back by the fixture
    uri = parse("csi://7")
    for _ in range(3):
        lock_camera(uri).release()
    assert logged == [
        "WARNING csi://7 is used without a lock (No such file or directory): a second pilot on it would not be noticed"
    ]
