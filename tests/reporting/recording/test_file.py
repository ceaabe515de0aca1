"""One .mp4 for the whole run, by each encoder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perception.core.frame import Frame
from perception.reporting.recording import encoder
from perception.reporting.recording.recordings import RESERVE_BYTES
from tests.camera.readers import wait_for
from tests.doubles.fakes import make_report
from tests.needs import path_of
from tests.reporting.recording.conftest import OnPath
from tests.reporting.recording.videos import encoders, greys, length_s, pictures, recorder, report
from tests.small_disk import small_disk

PROGRAMS = {"ffmpeg": ("ffmpeg",), "GStreamer": ("gst-launch-1.0", "gst-inspect-1.0"), "OpenCV": ()}


@pytest.fixture(
    autouse=True, params=[pytest.param(name, marks=pytest.mark.needs(*tools)) for name, tools in PROGRAMS.items()]
)
def program(request: pytest.FixtureRequest, on_path: OnPath) -> str:
    """Every test here holds for each encoder; the others are hidden."""
    on_path(*map(path_of, PROGRAMS[request.param]))
    return str(request.param)


def test_every_frame_is_in_the_file_in_order(tmp_path: Path, program: str, logged: list[str]) -> None:
    sink = recorder(tmp_path / "out.mp4")
    for value in (20, 90, 160, 230):
        sink.write(report(value, 96, 128))
    sink.close()
    assert [image.shape for image in pictures(tmp_path / "out.mp4")] == [(96, 128, 3)] * 4
    assert greys(tmp_path / "out.mp4") == pytest.approx([20, 90, 160, 230], abs=12)
    assert len(logged) == 1
    assert logged[0].startswith(f"INFO Recording to {tmp_path}/out.mp4 (")
    assert {"ffmpeg": "(H.264)", "GStreamer": "(H.264 by GStreamer)", "OpenCV": "a kill loses"}[program] in logged[0]


def test_a_thousand_frames_of_a_finite_source_are_all_there(tmp_path: Path) -> None:
    sink = recorder(tmp_path / "out.mp4")
    for number in range(1000):
        sink.write(report(number % 200, frame_id=number))
    sink.close()
    assert len(pictures(tmp_path / "out.mp4")) == 1000
    assert sink.dropped == 0


@pytest.mark.needs("ffprobe")
def test_the_video_plays_at_the_rate_of_its_source(tmp_path: Path) -> None:
    sink = recorder(tmp_path / "out.mp4")
    for _ in range(5):
        sink.write(report(fps=10.0))
    sink.close()
    assert length_s(tmp_path / "out.mp4") == pytest.approx(0.5, abs=0.01)


def test_frames_of_a_live_source_play_at_their_capture_times(tmp_path: Path) -> None:
    sink = recorder(tmp_path / "out.mp4")
    for value, at in ((20, 7.0), (90, 7.5), (160, 8.4)):
        sink.write(report(value, 96, 128, fps=10.0, at=at))
        assert wait_for(lambda: not sink._jobs)  # a live source does not wait by itself
    sink.close()
    wanted = [20] * 5 + [90] * 9 + [160]
    assert greys(tmp_path / "out.mp4") == pytest.approx(wanted, abs=12)


def test_a_clean_video_has_no_boxes(tmp_path: Path) -> None:
    for clean in (True, False):
        sink = recorder(tmp_path / "out.mp4", clean, overwrite=True)
        for _ in range(3):
            sink.write(report(100, vehicles=1))
        sink.close()
        spread = max(float(np.std(image)) for image in pictures(tmp_path / "out.mp4"))
        assert (spread < 3) == clean


def test_ctrl_c_at_the_terminal_leaves_the_encoder_alone(tmp_path: Path, program: str) -> None:
    sink = recorder(tmp_path / "out.mp4")
    sink.write(report())
    if program != "OpenCV":
        assert wait_for(encoders)
    groups = [os.getpgid(child) for child in encoders()]
    sink.write(report())
    sink.close()
    assert len(groups) == (program != "OpenCV")
    assert os.getpgrp() not in groups
    assert len(pictures(tmp_path / "out.mp4")) == 2


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    sink = recorder(tmp_path / "out.mp4")
    for height, width in ((48, 64), (96, 128), (10, 10), (48, 64)):
        sink.write(report(100, height, width))
    sink.close()
    assert [image.shape for image in pictures(tmp_path / "out.mp4")] == [(48, 64, 3)] * 4


def test_odd_sizes_are_cut_by_a_pixel(tmp_path: Path) -> None:
    sink = recorder(tmp_path / "out.mp4")
    for _ in range(3):
        sink.write(report(100, 49, 65))
    sink.close()
    assert [image.shape for image in pictures(tmp_path / "out.mp4")] == [(48, 64, 3)] * 3


def record(path: Path, count: int, overwrite: bool = False) -> None:
    sink = recorder(path, overwrite=overwrite)
    for _ in range(count):
        sink.write(report())
    sink.close()


def test_a_video_that_was_there_is_kept_and_the_next_name_taken(tmp_path: Path, logged: list[str]) -> None:
    for count in (5, 2, 3):
        record(tmp_path / "out.mp4", count)
    found = {path.name: len(pictures(path)) for path in tmp_path.iterdir()}
    assert found == {"out.mp4": 5, "out-2.mp4": 2, "out-3.mp4": 3}
    kept = f"WARNING record.path: {tmp_path}/out.mp4 is there already and is kept; this run writes {tmp_path}/out-2.mp4"
    assert [line for line in logged if line.startswith(kept)]


def test_a_video_that_was_there_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    for count in (5, 2):
        record(tmp_path / "out.mp4", count, overwrite=True)
    assert {path.name: len(pictures(path)) for path in tmp_path.iterdir()} == {"out.mp4": 2}


def test_a_video_that_comes_between_the_start_and_the_first_frame_is_kept(tmp_path: Path) -> None:
    sink = recorder(tmp_path / "out.mp4")
    (tmp_path / "out.mp4").write_text("of somebody else")
    sink.write(report())
    sink.close()
    assert (tmp_path / "out.mp4").read_text() == "of somebody else"
    assert len(pictures(tmp_path / "out-2.mp4")) == 1


def test_a_run_without_a_frame_leaves_what_was_there(tmp_path: Path) -> None:
    recorder(tmp_path / "out.mp4").close()
    assert not list(tmp_path.iterdir())
    (tmp_path / "out.mp4").write_text("of yesterday")
    recorder(tmp_path / "out.mp4").close()
    assert (tmp_path / "out.mp4").read_text() == "of yesterday"


def test_a_path_with_blanks_is_recorded_to(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "c d.mp4"
    path.parent.mkdir()
    sink = recorder(path)
    sink.write(report())
    sink.close()
    assert len(pictures(path)) == 1


def test_a_disk_that_fills_up_ends_the_video_while_it_can_still_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(encoder, "FEED_BYTES", 2**20)
    with small_disk(tmp_path / "disk", kib=RESERVE_BYTES // 1024 + 400) as disk:
        path = disk.path / "out.mp4"
        sink = recorder(path)
        noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        for shift in range(300):  # an encoder looks ahead: it writes the first ones late
            frame = Frame(np.roll(noise, shift * 7, axis=1), shift, 0.0, "x")
            sink.write(replace(make_report(), frame=frame))
        sink.close()
        assert 1 < len(pictures(path)) < 300
        warnings = [line for line in logged if line.startswith("WARNING")]
        assert warnings[0] == f"WARNING The disk of {path} is full: the video ends here, the run goes on"
        assert warnings[1:] == [
            f"WARNING The recording to {path} lacks 0 frames that came too fast for it, and {sink.lost} that could not "
            "be written"
        ]
