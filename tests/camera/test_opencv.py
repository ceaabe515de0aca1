"""Files frame by frame, and cameras whose settings are read back; no camera is needed here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from perception.camera import opencv
from perception.camera.opencv import Camera, open_pipeline, open_v4l2, refuse_difference
from perception.camera.uri import parse
from perception.camera.video_file import VideoFile
from perception.core.errors import EndOfStream, SourceError
from perception.settings.model import SourceSettings
from perception.system.home import ROOT
from tests.camera.clips import cut_short, drain, number_of, numbers_of, opened, write_clip
from tests.doubles.fakes import FakeClock


def video(path: Path | str) -> VideoFile:
    return VideoFile(parse(f"file://{path}"))


def truncations(logged: list[str]) -> list[str]:
    return [line for line in logged if "truncated" in line]


@pytest.mark.parametrize("count", [1, 2, 67])
def test_a_file_delivers_every_frame_in_order_exactly_once_with_the_last(
    tmp_path: Path, logged: list[str], count: int
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", count)
    with opened(f"file://{clip}") as reader:
        frames = drain(reader)
    assert [number_of(frame.image) for frame in frames] == list(range(count))
    assert [frame.frame_id for frame in frames] == list(range(count))
    assert reader.captured == count
    assert truncations(logged) == []


def test_a_slow_consumer_of_a_file_misses_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 12)
    with opened(f"file://{clip}") as reader:
        frames = drain(reader, pause_s=0.01)
        with pytest.raises(EndOfStream):
            reader.read(5)
    assert [number_of(frame.image) for frame in frames] == list(range(12))


def test_a_file_tells_its_size_rate_and_length(tmp_path: Path) -> None:
    clip = video(write_clip(tmp_path / "clip.mp4", 3, fps=10))
    assert clip.summary == "160x96 at 10 fps, 3 frames"
    clip.close()


def test_loop_starts_a_file_again_without_a_gap(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 4)
    with opened(f"{clip}?loop=1") as reader:
        frames = drain(reader, limit=11)
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert [frame.frame_id for frame in frames] == list(range(11))


def test_a_loop_reports_a_file_that_vanished(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    source = video(f"{clip}?loop=1")
    assert numbers_of(source, 2) == [0, 1]
    clip.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        source.read()


def test_realtime_plays_at_the_rate_of_the_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 10, fps=20)
    with opened(f"{clip}?realtime=1") as reader:
        stamps = [frame.captured_at for frame in drain(reader)]
    assert stamps[-1] - stamps[0] > 0.8 * 9 / 20


def test_realtime_drops_for_a_slow_consumer_and_shows_it_in_the_ids(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 40, fps=100)
    with opened(f"{clip}?realtime=1") as reader:
        frames = drain(reader, pause_s=0.05)
    ids, numbers = ([frame.frame_id for frame in frames], [number_of(frame.image) for frame in frames])
    assert ids == numbers, "the id of a frame is its place in the file"
    assert ids == sorted(set(ids))
    assert ids[-1] == 39, "the last frame is delivered whatever was dropped"
    dropped = reader.captured - len(ids)
    assert dropped == ids[-1] + 1 - len(ids) > 0


@pytest.mark.needs("ffmpeg")
def test_a_truncated_file_is_reported_with_both_figures_and_then_ends(tmp_path: Path, logged: list[str]) -> None:
    whole = write_clip(tmp_path / "whole.mp4", 100)
    clip = cut_short(whole, tmp_path / "cut.mp4", 0.5)
    numbers = numbers_of(video(clip))
    assert numbers[:-1] == list(range(len(numbers) - 1)), "all but the last, which the cut may have damaged"
    assert 10 < len(numbers) < 95
    expected = f"WARNING file://{clip} is truncated: it promises 100 frames, {len(numbers)} came"
    assert truncations(logged) == [expected]


@pytest.mark.needs("ffmpeg")
def test_a_truncated_file_in_a_loop_is_reported_once(tmp_path: Path, logged: list[str]) -> None:
    clip = cut_short(write_clip(tmp_path / "whole.mp4", 40), tmp_path / "cut.mp4", 0.5)
    numbers_of(video(f"{clip}?loop=1"), 100)
    assert len(truncations(logged)) == 1


def test_a_sound_clip_that_lacks_a_few_promised_frames_is_not_called_truncated(data: Path, logged: list[str]) -> None:
    clip = video(data / "clips" / "dashcam_a_720p.mp4")
    assert len(numbers_of(clip)) == 88
    assert truncations(logged) == []


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 50, b"\0" * 3000])
def test_a_file_that_is_no_video_is_an_error_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is not a video that can be read") as caught:
        video(path)
    assert str(path) in str(caught.value)


def test_a_cut_file_without_its_index_is_an_error_and_not_an_empty_run(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 60)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(SourceError, match="empty, cut off, or of another kind"):
        video(clip)


@pytest.mark.needs("ffmpeg")
def test_a_file_cut_right_after_its_index_is_an_error(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", 60)
    clip = cut_short(whole, tmp_path / "cut.mp4", 1)
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(b"mdat") + 8])
    with pytest.raises(SourceError, match=r"not a video|holds no frame"):
        video(clip).read()


def test_a_folder_given_as_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a video that can be read"):
        video(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"), [("gone.mp4", "does not exist"), ("x" * 300, "File name too long"), ("loop", "symbolic links")]
)
def test_a_path_that_leads_nowhere_is_an_error_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SourceError, match=reason):
        video(tmp_path / name)


def test_a_file_of_somebody_else_is_an_error_that_says_how_to_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read all, whatever the mode says
    with pytest.raises(SourceError, match=f"cannot be read by this user. Allow it: chmod a\\+r {clip}"):
        video(clip)


@pytest.mark.parametrize("name", ["10:30:00.mp4", "what?.mp4", "100%03d.mp4", "a b#c@d.mp4", "ä€.mp4"])
def test_a_file_of_any_name_is_played_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_clip(tmp_path / "plain.mp4", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert numbers_of(VideoFile(parse(name))) == [0, 1, 2]


def test_nothing_but_the_sentence_is_printed_for_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("no video")
    code = (
        "import sys; from perception.camera.video_file import VideoFile; from perception.camera.uri import parse\n"
        "try: VideoFile(parse(sys.argv[1]))\n"
        "except Exception as fault: print(type(fault).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("SourceError\n", "")


class FakeVideoCapture:
    """OpenCV's side of a camera that delivers what it is given, and no more."""

    def __init__(self, pictures: list[npt.NDArray[Any] | None]) -> None:
        self._pictures = list(pictures)
        self.released = 0

    def grab(self) -> bool:
        return bool(self._pictures)

    def retrieve(self, into: npt.NDArray[Any] | None = None) -> tuple[bool, npt.NDArray[Any] | None]:
        picture = self._pictures.pop(0)
        return picture is not None, picture

    def get(self, number: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0, cv2.CAP_PROP_FPS: 30.0}[number]

    def release(self) -> None:
        self.released += 1


class BacklogCapture(FakeVideoCapture):
    """A stream of 100 frames a second of which `held_back` have gathered while it was opened."""

    def __init__(self, held_back: int, clock: FakeClock) -> None:
        super().__init__([])
        self.grabbed = 0
        self._held_back = held_back
        self._clock = clock

    def get(self, number: int) -> float:
        return 100.0

    def grab(self) -> bool:
        self.grabbed += 1
        if self.grabbed > self._held_back:
            self._clock.now += 0.01
        return True


@pytest.mark.parametrize(("held_back", "let_go"), [(0, 1), (30, 31), (10_000, 500)])
def test_what_gathered_while_a_stream_was_opened_is_let_go_but_no_more_than_five_seconds(
    monkeypatch: pytest.MonkeyPatch, held_back: int, let_go: int
) -> None:
    clock = FakeClock()
    capture = BacklogCapture(held_back, clock)
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(opencv, "open_capture", lambda *_: capture)
    opencv.open_rtsp(parse("rtsp://cam/1"), SourceSettings())
    assert capture.grabbed == let_go


def camera(*pictures: npt.NDArray[Any] | None) -> Camera:
    return Camera(FakeVideoCapture(list(pictures)), parse("rtsp://u:hunter2@cam/1"))  # type: ignore[arg-type]


def test_a_camera_stamps_each_picture_and_is_lost_after_the_last() -> None:
    before = time.monotonic()
    source = camera(np.zeros((48, 64, 3), np.uint8))
    assert source.summary == "64x48 at 30 fps"
    picture = source.read()
    assert picture is not None
    assert before <= picture.captured_at <= time.monotonic()
    assert picture.position_ms is None
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@cam/1 gives no more pictures"):
        source.read()


def test_a_picture_that_cannot_be_decoded_is_nothing_yet_and_the_next_one_counts() -> None:
    source = camera(None, np.zeros((48, 64, 3), np.uint8))
    assert source.read() is None
    assert source.read() is not None
    with pytest.raises(SourceError, match="gives no more pictures"):
        source.read()


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 1), np.uint8),
        np.zeros((48, 64, 2), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.uint16),
    ],
)
def test_pictures_that_are_not_bgr_of_8_bits_are_refused_with_their_shape(picture: npt.NDArray[Any]) -> None:
    with pytest.raises(SourceError, match="not BGR of 8 bits") as caught:
        camera(picture).read()
    assert str(picture.shape) in caught.value.what
    assert "videoconvert ! video/x-raw,format=BGR" in caught.value.what


def test_a_missing_v4l2_device_is_an_error_that_lists_the_cameras_there_are(tmp_path: Path) -> None:
    device = tmp_path / "video7"
    with pytest.raises(SourceError, match=f"There is no camera at {device}. Found: "):
        open_v4l2(parse(f"v4l2://{device}"), SourceSettings())


def test_what_is_no_camera_does_not_open_as_one(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no camera")
    for device in ("/dev/null", str(plain)):
        with pytest.raises(SourceError, match=f"{device} did not open: it is in use, or no camera"):
            open_v4l2(parse(f"v4l2://{device}"), SourceSettings())


def test_a_camera_that_this_user_may_not_open_is_an_error_with_the_group_to_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "video0"
    device.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SourceError, match=r"may not open .*usermod -aG video"):
        open_v4l2(parse(f"v4l2://{device}"), SourceSettings())


@pytest.mark.parametrize(
    ("wanted", "got", "words"),
    [
        ({"width": 1280}, {"width": 640.0}, "asked for width 1280, the camera gives 640"),
        ({"fps": 60.0}, {"fps": 30.0}, "asked for fps 60.0, the camera gives 30"),
        ({"format": "MJPG"}, {"format": "YUYV"}, "asked for format MJPG, the camera gives YUYV"),
    ],
)
def test_a_setting_that_the_camera_did_not_take_is_an_error_that_names_both(
    wanted: dict[str, object], got: dict[str, object], words: str
) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        refuse_difference(parse("v4l2:///dev/video0"), wanted, got)
    assert "v4l2-ctl --list-formats-ext -d /dev/video0" in caught.value.cure


def test_settings_that_were_taken_are_accepted_also_with_a_rounded_rate() -> None:
    wanted: dict[str, object] = {"width": 640, "fps": 30.0, "format": "MJPG"}
    got: dict[str, object] = {"width": 640.0, "height": 480.0, "fps": 29.97, "format": "MJPG"}
    refuse_difference(parse("0"), wanted, got)
    with pytest.raises(SourceError, match="fps"):
        refuse_difference(parse("0"), {**wanted, "fps": 25.0}, got)


@pytest.mark.parametrize("uri", ["csi://0", "gst:videotestsrc ! appsink"])
def test_without_gstreamer_a_pipeline_is_refused_with_the_cure(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencv, "has_gstreamer", lambda: False)
    with pytest.raises(SourceError, match="needs GStreamer") as caught:
        open_pipeline(parse(uri), "videotestsrc ! appsink", SourceSettings())
    assert "--system-site-packages" in caught.value.cure
    assert cv2.__version__ in caught.value.what


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("    GStreamer:                   YES (1.20.3)", True),
        ("    GStreamer:                   NO", False),
        ("    Disabled: GStreamer YES", False),
    ],
)
def test_the_build_information_tells_whether_there_is_gstreamer(
    monkeypatch: pytest.MonkeyPatch, line: str, found: bool
) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: f"Video I/O:\n{line}\n    v4l/v4l2: YES\n")
    assert opencv.has_gstreamer() is found


@pytest.mark.parametrize("taken", [True, False])
def test_the_time_limits_go_to_gstreamer_only_where_it_takes_them(monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    asked: list[list[int]] = []

    def fake_open(target: str, api: int, parameters: list[int]) -> FakeVideoCapture:
        asked.append(list(parameters))
        return FakeVideoCapture([])

    monkeypatch.setattr(opencv, "has_gstreamer", lambda: True)
    monkeypatch.setattr(opencv, "_pipelines_take_timeouts", lambda: taken)
    monkeypatch.setattr(opencv, "open_capture", fake_open)
    settings = SourceSettings(open_timeout_s=3.0, stall_s=2.0)
    open_pipeline(parse("gst:x ! appsink"), "x ! appsink", settings)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 3000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 2000]
    assert asked == [limits if taken else []]
