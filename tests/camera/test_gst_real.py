"""Real GStreamer pipelines, through the system's OpenCV as on a Jetson, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from perception.system.home import ROOT
from tests.camera.clips import write_clip
from tests.camera.servers import StartRtsp
from tests.needs import path_of

BGR = "video/x-raw,format=BGR,width=320,height=240,framerate=30/1"
BALL = f"gst:videotestsrc num-buffers=30 pattern=ball ! {BGR} ! appsink"
SHOWN = "gst:videotestsrc *** ! *** ! appsink"
"""As it is told: its elements, and no values."""

pytestmark = pytest.mark.needs("system-venv")


class Probe:
    """The answer of gst_probe.py, and its other output."""

    def __init__(self, uri: str, frames: int = 5, jetson: bool = False, until: str = "", **settings: object) -> None:
        task = {"source": {"uri": uri, **settings}, "frames": frames, "jetson": jetson}
        if until:
            task["until"] = until
        with tempfile.TemporaryDirectory() as task["locks"]:
            command = [path_of("system-venv"), "-m", "tests.camera.gst_probe", json.dumps(task)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        self.printed = done.stdout + done.stderr
        self.gstreamer: bool = found["gstreamer"]
        self.frames: list[dict[str, Any]] = found["frames"]
        self.fault: str = found["fault"]
        self.logged: list[str] = found["logged"]
        self.closed: bool = found["closed"]

    @property
    def ids(self) -> list[int]:
        return [frame["id"] for frame in self.frames]


def test_a_pipeline_delivers_its_pictures_through_open_source() -> None:
    probe = Probe(BALL)
    assert probe.gstreamer
    assert len(probe.frames) == 5
    assert probe.ids == sorted(set(probe.ids))
    assert [frame["shape"] for frame in probe.frames] == [[240, 320, 3, "uint8"]] * 5
    assert [frame["source"] for frame in probe.frames] == [SHOWN] * 5
    assert all(0 <= frame["age_s"] < 1 for frame in probe.frames)
    assert f"Source live: {SHOWN} (320x240 at 30 fps)" in probe.logged
    assert probe.closed


def test_a_pipeline_that_stops_is_lost_and_reopened_with_rising_ids() -> None:
    probe = Probe(f"gst:videotestsrc is-live=true num-buffers=5 pattern=ball ! {BGR} ! appsink", frames=9)
    assert len(probe.frames) == 9
    assert probe.ids == sorted(set(probe.ids))
    assert probe.ids[-1] >= 8
    assert any("Source lost" in line and "gives no more pictures" in line for line in probe.logged)
    assert any(line.startswith("Source live after ") for line in probe.logged)


def test_a_pipeline_of_one_still_picture_is_lost() -> None:
    probe = Probe(f"gst:videotestsrc pattern=white ! {BGR} ! appsink", until="Source live after", repeat_s=0.2)
    assert probe.ids == [0], "the repeated picture is never delivered again, also after reopening"
    assert any("it repeats one picture for 0.2 s" in line for line in probe.logged)


@pytest.mark.parametrize("text", ["nosuchelement ! appsink", "videotestsrc ! video/x-raw,format=RGB ! appsink"])
def test_a_pipeline_that_cannot_start_is_an_error(text: str) -> None:
    probe = Probe(f"gst:{text}")
    assert "did not start. Try its pipeline with gst-launch-1.0" in probe.fault
    assert probe.frames == []


def test_a_pipeline_without_an_appsink_is_refused() -> None:
    assert "does not end in an appsink" in Probe("gst:videotestsrc ! fakesink").fault


def test_a_csi_camera_that_is_not_there_is_an_error() -> None:
    # OpenCV 4.6 waits for ever for the first picture of what it could not build; later ones refuse to start it.
    fault = Probe("csi://0", open_timeout_s=0.5).fault
    assert fault.startswith(("csi://0 did not start", "csi://0 did not open within 0.5 s"))


@pytest.mark.parametrize("colour", ["NV12", "BGRx"])
def test_pictures_of_another_kind_are_named_with_the_conversion_they_need(colour: str) -> None:
    caps = BGR.replace("BGR", colour)
    probe = Probe(f"gst:videotestsrc num-buffers=3 ! {caps} ! appsink", wait=True)
    assert probe.frames == []
    assert "not BGR of 8 bits: put `videoconvert ! video/x-raw,format=BGR` before its appsink" in probe.fault


@pytest.mark.parametrize("options", [(), ("--sound",)])
def test_the_rtsp_pipeline_of_a_jetson_gives_pictures(rtsp: StartRtsp, options: tuple[str, ...]) -> None:
    probe = Probe(rtsp(*options).url, jetson=True)
    assert [frame["shape"] for frame in probe.frames] == [[240, 320, 3, "uint8"]] * 5


def test_the_rtsp_pipeline_of_a_jetson_takes_odd_passwords_and_shows_none(rtsp: StartRtsp) -> None:
    server = rtsp("--user", 'admin:p@ss"w0rd!')
    probe = Probe(server.with_user('admin:p@ss"w0rd!'), jetson=True)
    assert len(probe.frames) == 5
    refused = Probe(server.with_user('admin:wr0ng"@!'), jetson=True)
    assert "did not start" in refused.fault
    for found in (probe, refused):
        for secret in ("w0rd", "wr0ng", "admin"):
            assert secret not in found.printed


def test_a_file_plays_whole_and_in_order_there_too(tmp_path: Path) -> None:
    probe = Probe(f"file://{write_clip(tmp_path / 'clip.mp4', 30)}", frames=100)
    assert probe.ids == list(range(30))
    assert probe.fault == "EndOfStream"


def test_a_file_that_is_no_video_is_an_error_there_too(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("no video")
    assert "is not a video that can be read" in Probe(f"file://{path}").fault
