"""The annotated video and the window."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.errors import SettingsError
from perception.frame import Frame, Image, Report
from perception.reporting.video import RESERVE_BYTES, VideoSink, WindowSink
from tests.camera.readers import wait_for
from tests.fakes import make_image, make_report
from tests.small_disk import small_disk


@pytest.fixture(autouse=True, params=["ffmpeg", "OpenCV"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here holds for each encoder; without ffmpeg OpenCV's is tried twice."""
    if request.param == "OpenCV":
        monkeypatch.setattr(shutil, "which", lambda name: None)


def report(value: int, height: int = 48, width: int = 64) -> Report:
    return replace(make_report(), frame=Frame(make_image(value, height, width), 0, 0.0, "x"))


def encoders() -> list[int]:
    """The ffmpeg processes of this one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in children if Path(f"/proc/{child}/comm").read_text() == "ffmpeg\n"]


def pictures(path: Path) -> list[Image]:
    capture = cv2.VideoCapture(str(path))
    found: list[Image] = []
    while True:
        read, image = capture.read()
        if not read:
            capture.release()
            return found
        found.append(image)  # type: ignore[arg-type]


def test_every_frame_is_in_the_file_in_order(tmp_path: Path, logged: list[str]) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    for value in (20, 90, 160, 230):
        sink.write(report(value, 96, 128))
    sink.close()
    found = pictures(tmp_path / "out.mp4")
    assert [image.shape for image in found] == [(96, 128, 3)] * 4
    corners = [float(image[50:70, 100:120].mean()) for image in found]
    assert corners == pytest.approx([20, 90, 160, 230], abs=12)
    assert len(logged) == 1
    assert logged[0].startswith(f"INFO Recording to {tmp_path}/out.mp4 (")


def test_it_says_where_browsers_do_not_play_it(tmp_path: Path, logged: list[str]) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    sink.write(report(20))
    sink.close()
    assert ("(H.264)" in logged[0]) != ("browsers do not play it" in logged[0])


def test_the_video_plays_at_the_rate_of_its_source(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    for _ in range(5):
        sink.write(replace(make_report(), frame=Frame(make_image(20), 0, 0.0, "x", fps=10.0)))
    sink.close()
    assert cv2.VideoCapture(str(tmp_path / "out.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_ctrl_c_at_the_terminal_leaves_the_encoder_alone(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    sink.write(report(20))
    if shutil.which("ffmpeg"):
        assert wait_for(encoders)  # a new process bears its parent's name for a moment
    groups = [os.getpgid(child) for child in encoders()]
    sink.write(report(20))
    sink.close()
    assert len(groups) == (shutil.which("ffmpeg") is not None)
    assert os.getpgrp() not in groups
    assert len(pictures(tmp_path / "out.mp4")) == 2


def test_an_encoder_that_dies_ends_the_video_and_not_the_run(tmp_path: Path, logged: list[str]) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' V..... libx264 '\n")
    program.chmod(0o755)
    sink = VideoSink(tmp_path / "out.mp4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: str(program))
        for _ in range(50):
            sink.write(report(20, 480, 640))
    sink.close()
    assert [line for line in logged if "WARNING" in line] == [
        f"WARNING {tmp_path}/out.mp4 cannot be written any more (Broken pipe): the video ends here, the run goes on"
    ]


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    for height, width in ((48, 64), (96, 128), (10, 10), (48, 64)):
        sink.write(report(100, height, width))
    sink.close()
    assert [image.shape for image in pictures(tmp_path / "out.mp4")] == [(48, 64, 3)] * 4


def test_odd_sizes_are_recorded(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    for _ in range(3):
        sink.write(report(100, 49, 65))
    sink.close()
    assert len(pictures(tmp_path / "out.mp4")) == 3


def test_a_video_that_was_there_is_replaced(tmp_path: Path) -> None:
    for count in (5, 2):
        sink = VideoSink(tmp_path / "out.mp4")
        for _ in range(count):
            sink.write(report(100))
        sink.close()
    assert len(pictures(tmp_path / "out.mp4")) == 2


def test_a_run_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    sink.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.avi", "out", "mp4", ".mp4"])
def test_a_name_that_does_not_end_in_mp4_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"must end in \.mp4"):
        VideoSink(tmp_path / name)


def test_a_path_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    for path, said in (
        (tmp_path / "none" / "out.mp4", f"the folder {tmp_path}/none does not exist. Create it first."),
        (tmp_path / "file" / "out.mp4", f"the folder {tmp_path}/file does not exist"),
        (tmp_path / "folder.mp4", "cannot be written"),
        (tmp_path / ("n" * 300 + ".mp4"), "cannot be written"),
    ):
        with pytest.raises(SettingsError) as caught:
            VideoSink(path)
        assert str(caught.value).startswith(f"--record {path}")
        assert said in str(caught.value)


def test_a_read_only_disk_is_refused_before_the_run(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.make_read_only()
        with pytest.raises(SettingsError, match="cannot be written by this user"):
            VideoSink(disk.path / "out.mp4")


def test_a_disk_that_fills_up_ends_the_video_while_it_can_still_be_played(tmp_path: Path, logged: list[str]) -> None:
    with small_disk(tmp_path / "disk", kib=RESERVE_BYTES // 1024 + 400) as disk:
        path = disk.path / "out.mp4"
        sink = VideoSink(path)
        noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        for shift in range(200):  # an encoder looks ahead: it writes the first ones late
            sink.write(replace(make_report(), frame=Frame(np.roll(noise, shift * 7, axis=1), shift, 0.0, "x")))
        sink.close()
        assert 1 < len(pictures(path)) < 200
        assert logged[1:] == [f"WARNING The disk of {path} is full: the video ends here, the run goes on"]


def headless() -> bool:
    return any(line.split()[:2] == ["GUI:", "NONE"] for line in cv2.getBuildInformation().splitlines())


def test_a_headless_opencv_has_no_window_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(SettingsError, match=r"--show needs a window, and this OpenCV is a headless build.*--record"):
        WindowSink()


def test_a_machine_without_a_display_has_no_window_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SettingsError, match="--show needs a display, and there is none"):
        WindowSink()


def test_this_machine_gets_a_window_or_the_reason_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SettingsError, match="headless build" if headless() else "needs a display"):
        WindowSink()


@pytest.mark.parametrize(
    ("key", "visible", "closed"),
    [(-1, 1.0, False), (ord("x"), 1.0, False), (ord("q"), 1.0, True), (27, 1.0, True), (-1, 0.0, True)],
)
def test_q_escape_or_closing_the_window_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, key: int, visible: float, closed: bool
) -> None:
    shown: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append((title, image.shape)))
    monkeypatch.setattr(cv2, "waitKey", lambda ms: key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, name: visible)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append(("closed", ())))
    window = WindowSink()
    window.write(report(0))
    assert window.closed is closed
    window.close()
    assert shown == [("vehicle pilot", (48, 64, 3)), ("closed", ())]
