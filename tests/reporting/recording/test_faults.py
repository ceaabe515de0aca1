"""Recordings that cannot be had, and encoders that fail."""

from __future__ import annotations

import os
import signal
import sys
from itertools import count, islice
from pathlib import Path

import pytest

from perception.core.errors import PilotError, SettingsError
from perception.reporting.recording import encoder, recordings
from perception.reporting.recording.recorder import Recorder
from perception.settings.model import RecordSettings
from tests.camera.readers import wait_for
from tests.reporting.recording.conftest import OnPath
from tests.reporting.recording.videos import encoders, pictures, recorder, report, segments
from tests.small_disk import small_disk


def fake_ffmpeg(folder: Path, then: str = "") -> str:
    """A program that says it has the encoder; what it does `then` with a video is the fault."""
    fake = folder / "ffmpeg"
    fake.write_text(f"#!/bin/sh\necho ' V..... libx264 '\n[ $# -gt 3 ] && {then or ':'}\n")
    fake.chmod(0o755)
    return str(fake)


@pytest.mark.parametrize("name", ["out.avi", "out.mkv", ".mp4"])
def test_a_name_that_is_neither_a_video_nor_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"must end in \.mp4, or be that of a folder"):
        recorder(tmp_path / name)


def test_a_path_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    for path, said in (
        (tmp_path / "none" / "out.mp4", f"the folder {tmp_path}/none does not exist"),
        (tmp_path / "file" / "out.mp4", f"{tmp_path}/file is no folder"),
        (tmp_path / "folder.mp4", "cannot be written"),
        (tmp_path / ("n" * 300 + ".mp4"), "cannot be written"),
    ):
        with pytest.raises(PilotError) as caught:
            recorder(path)
        assert str(caught.value).startswith(f"--record {path}")
        assert said in str(caught.value)


def test_a_read_only_disk_is_refused_before_the_run(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.make_read_only()
        with pytest.raises(SettingsError, match="cannot be written by this user"):
            recorder(disk.path / "out.mp4")


def test_an_encoder_that_dies_is_replaced_by_the_next_one(tmp_path: Path, on_path: OnPath, logged: list[str]) -> None:
    on_path(fake_ffmpeg(tmp_path))
    sink = recorder(tmp_path / "out.mp4")
    for _ in range(200):
        sink.write(report(20, 480, 640))
    sink.close()
    assert pictures(tmp_path / "out.mp4")
    assert [line for line in logged if "WARNING" in line] == ["WARNING The encoder does not work: H.264"]


@pytest.mark.needs("ffmpeg", "gst-launch-1.0")
def test_hardware_that_does_not_work_is_replaced_by_software(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """GStreamer is the real one; the element of a Jetson, of which it is told here, is none of its own."""
    monkeypatch.setattr(encoder, "NVENC_NODES", (tmp_path,))
    monkeypatch.setattr(encoder, "_succeeds", lambda inspect, element: True)
    sink = Recorder(RecordSettings(path=tmp_path / "videos"))
    for number in range(500):
        sink.write(report(number % 200, frame_id=number))
    sink.close()
    assert len(pictures(segments(tmp_path / "videos")[-1])) > 300
    assert [line.split(" (")[-1] for line in logged if "Recording to" in line] == [
        "H.264 by the hardware encoder)",
        "H.264)",
    ]
    assert [line for line in logged if "WARNING" in line] == [
        "WARNING The encoder does not work: H.264 by the hardware encoder"
    ]


def test_an_encoder_that_dies_in_a_short_run_is_told_of(tmp_path: Path, on_path: OnPath, logged: list[str]) -> None:
    on_path(fake_ffmpeg(tmp_path, "exit 1"))
    sink = recorder(tmp_path / "out.mp4")
    sink.write(report())
    sink.close()
    warnings = [line for line in logged if "WARNING" in line]
    assert warnings == [f"WARNING The encoder ended with 1: {tmp_path}/out.mp4 may not play"]


@pytest.mark.needs("ffmpeg")
def test_an_encoder_that_somebody_kills_is_started_again(tmp_path: Path, logged: list[str]) -> None:
    folder = tmp_path / "videos"
    sink = Recorder(RecordSettings(path=folder))
    numbers = count()

    def two_more_seconds() -> None:
        for number in islice(numbers, 50):
            sink.write(report(number % 200, frame_id=number))

    def is_there(place: int) -> bool:
        two_more_seconds()
        return len(segments(folder)) > place and segments(folder)[place].stat().st_size > 0

    assert wait_for(lambda: is_there(0))
    (first,) = encoders()
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: is_there(1))
    sink.close()
    assert len(pictures(segments(folder)[1])) > 0
    assert [line for line in logged if "WARNING" in line] == []
    assert sum("Recording to" in line for line in logged) == 1


def test_an_encoder_that_hangs_holds_up_no_live_source_and_no_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: OnPath, logged: list[str]
) -> None:
    on_path(fake_ffmpeg(tmp_path, f"exec {sys.executable} -c 'import time; time.sleep(60)'"))
    monkeypatch.setattr(encoder, "STUCK_S", 0.5)
    monkeypatch.setattr(recordings, "FINISH_S", 0.5)
    monkeypatch.setattr(encoder, "FEED_BYTES", 2**20)
    sink = recorder(tmp_path / "out.mp4")
    for number in range(100):
        sink.write(report(20, 480, 640, number, at=number / 25))
    assert len(sink._jobs) <= 2  # what a lent frame may wait for
    assert sink.dropped > 0
    sink.close()
    warnings = [line for line in logged if "WARNING" in line]
    assert sum("does not keep up" in line for line in warnings) == 1
    assert f"lacks {sink.dropped} frames that came too fast" in warnings[-1]
    assert not encoders()
