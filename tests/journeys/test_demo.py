"""End to end on the synthetic drive: exact truth through the whole pilot, and frames proved by their stamps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from perception.drive import Drive, DriveSettings, read_stamp
from perception.system.home import ROOT
from tests.camera.clips import drain, opened
from tests.camera.servers import StartRtsp, rtsp

__all__ = ["rtsp"]

STAMPED = DriveSettings(seed=3, vehicles=4, width=960, height=540, duration=6.0, stamp=True)
GROUND_TRUTH = re.compile(r"Ground truth: recall (\d\.\d\d) precision (\d\.\d\d) over (\d+) vehicles")


def pilot(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs config/demo.yaml by hand, in a folder of its own, with what it logs there."""
    settings = folder / "settings.yaml"
    settings.write_text((ROOT / "config" / "demo.yaml").read_text() + f"\nlog: {{dir: {folder}}}\n")
    command = [sys.executable, str(ROOT / "pilot.py"), "--config", str(settings), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ})


def stamps(uri: str, limit: int = 10_000) -> list[tuple[int, int | None]]:
    """Frame id and stamp of each frame of a source."""
    with opened(uri) as reader:
        return [(frame.frame_id, read_stamp(frame.image)) for frame in drain(reader, limit)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a stamped drive."""
    path = tmp_path_factory.mktemp("drive") / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (960, 540))  # type: ignore[attr-defined]
    drive = Drive(STAMPED)
    for number in range(drive.frame_count):
        writer.write(drive.render(number)[0])
    writer.release()
    return path


def test_every_frame_of_the_drive_comes_once_and_in_order() -> None:
    uri = "demo://drive?seed=3&vehicles=4&width=960&height=540&duration=6&stamp=1"
    assert stamps(uri) == [(number, number) for number in range(150)]


def test_every_frame_of_a_file_comes_once_and_in_order(clip: Path) -> None:
    assert stamps(str(clip)) == [(number, number) for number in range(150)]


def test_every_image_of_a_folder_comes_once_and_in_order(tmp_path: Path) -> None:
    drive = Drive(STAMPED)
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"frame{number}.jpg"), drive.render(number)[0])
    assert stamps(f"images://{tmp_path}") == [(number, number) for number in range(12)]


def test_no_frame_of_an_rtsp_stream_is_torn_or_swapped(rtsp: StartRtsp, clip: Path) -> None:
    server = rtsp("--clip", str(clip))
    seen = [stamp for _, stamp in stamps(server.url, 40)]
    assert None not in seen, "a torn frame"
    assert all(before < after for before, after in zip(seen, seen[1:])), f"{seen}: repeated or swapped"  # type: ignore[operator]


def test_the_loop_of_the_drive_starts_again_where_it_began() -> None:
    uri = "demo://drive?seed=3&vehicles=2&width=640&height=360&duration=0.4&stamp=1&loop=1"
    assert [stamp for _, stamp in stamps(uri, 25)] == [number % 10 for number in range(25)]


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    # Floors for three drives each; the figures over many, and the bars they clear, are in models/README.md.
    ("options", "floor"),
    [("light=day", 0.93), ("light=dusk", 0.85), ("light=night", 0.85), ("rain=0.7", 0.85)],
)
def test_the_pilot_finds_what_is_there_on_drives_it_has_never_seen(tmp_path: Path, options: str, floor: float) -> None:
    wanted, found, right = 0, 0.0, 0.0
    for seed in (900_001, 900_002, 900_003):
        uri = f"demo://drive?seed={seed}&vehicles=8&duration=20&fps=1&{options}"
        done = pilot(tmp_path, "--source", uri, "--truth", tmp_path / f"{seed}.jsonl", "--no-show")
        assert done.returncode == 0, done.stderr[-2000:]
        said = GROUND_TRUTH.fullmatch(done.stdout.splitlines()[-1])
        assert said, done.stdout
        truth = [json.loads(line) for line in (tmp_path / f"{seed}.jsonl").read_text().splitlines()]
        assert [line["frame_id"] for line in truth] == list(range(20))
        asked = [
            vehicle
            for line in truth
            for vehicle in line["vehicles"]
            if not vehicle["occluded"] and vehicle["xyxy"][3] - vehicle["xyxy"][1] > 24
        ]
        assert int(said[3]) == len(asked)
        wanted, found, right = wanted + len(asked), found + float(said[1]) * len(asked), right + float(said[2])
    assert wanted > 200
    assert found / wanted >= floor, "recall"
    assert right / 3 >= floor, "precision"


def test_the_demo_by_hand_ends_with_the_ground_truth_and_leaves_a_video(tmp_path: Path) -> None:
    done = pilot(tmp_path, "--max-frames", "8")
    assert done.returncode == 0, done.stderr[-2000:]
    assert GROUND_TRUTH.fullmatch(done.stdout.splitlines()[-1])
    assert done.stderr.splitlines()[-1].split(" INFO    ")[1].startswith("Latency over 3 frames: p50 ")
    assert cv2.VideoCapture(str(tmp_path / "demo.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 8


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("demo://moon", "There is no scene 'moon'. Write demo://drive."),
        ("demo://drive?vehicles=99", "vehicles=99 is not allowed: a whole number from 0 to 64"),
        ("demo://drive?light=noon", "light='noon' is not allowed: one of day, dusk, night"),
        ("demo://drive?sed=1", "unknown option sed. Did you mean seed?"),
    ],
)
def test_a_drive_that_cannot_be_had_ends_with_its_sentence(tmp_path: Path, uri: str, said: str) -> None:
    done = pilot(tmp_path, "--source", uri)
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_truth_is_only_to_be_had_from_a_drive(tmp_path: Path) -> None:
    done = pilot(tmp_path, "--source", "clip.mp4", "--truth", "truth.jsonl")
    assert done.returncode == 2
    assert "--truth needs a source that knows the truth. Use it with --source demo://drive." in done.stderr


def test_the_pilot_without_weights_or_camera_names_the_demo(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "pilot.py")]
    no_weights = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert no_weights.returncode == 4
    assert "make demo" in no_weights.stderr.splitlines()[-1]
    no_camera = pilot(tmp_path, "--source", "v4l2:///dev/video99")
    assert no_camera.returncode == 3
    assert "make demo" in no_camera.stderr.splitlines()[-1]
