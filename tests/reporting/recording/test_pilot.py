"""A pilot that records, and is ended in every way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.service.conftest import Folder
from tests.journeys.service.manager import PILOT, Running, running, wait_until
from tests.processes import children
from tests.reporting.recording.videos import pictures, records, segments


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The settings of a pilot that records two seconds of its pictures' time into each segment."""
    made = Folder(tmp_path)
    made.write(f"record: {{path: '{tmp_path}/videos', segment_s: 2, clean: true}}\n")
    return made


@pytest.fixture
def pilot(folder: Folder) -> Iterator[Running]:
    """A pilot that has begun its sixth segment at least."""
    with running(folder.path) as started:
        wait_until(lambda: len(list(folder.path.glob("videos/*.jsonl"))) > 5, started.text)
        yield started


def finished(folder: Folder) -> list[Path]:
    """The segments, once no encoder works on them any more."""
    wait_until(lambda: not any(_writes_into(folder.path, number) for number in Path("/proc").iterdir()), "it is done")
    return segments(folder.path / "videos")


def _writes_into(place: Path, process: Path) -> bool:
    try:
        line = (process / "cmdline").read_bytes()
    except OSError:
        return False
    program = Path(os.fsdecode(line.split(b"\0")[0])).name
    return program.startswith(("ffmpeg", "gst-launch")) and str(place).encode() in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_last_segment_with_every_frame(
    folder: Folder, pilot: Running, number: signal.Signals
) -> None:
    assert pilot.end(number) == 0
    seen = [json.loads(line)["frame_id"] for line in (folder.path / "logs" / "frames.jsonl").read_text().splitlines()]
    videos = finished(folder)
    kept = [[record["frame_id"] for record in records(path)] for path in videos]
    assert [one for ids in kept for one in ids] == seen == list(range(len(seen)))
    assert [len(pictures(path)) for path in videos] == [len(ids) for ids in kept]
    assert "WARNING" not in pilot.text


@pytest.mark.needs("ffmpeg")
def test_a_kill_leaves_videos_that_play(folder: Folder, pilot: Running) -> None:
    """The pilot alone is killed: its encoders finish what they have got, all but the last second or two."""
    pilot.process.kill()
    pilot.process.wait()
    seen = [len(pictures(path)) for path in finished(folder)]
    assert seen[:3] == [50, 50, 50]
    assert sum(seen) >= 50 * (len(list(folder.path.glob("videos/*.jsonl"))) - 3)


@pytest.mark.needs("ffmpeg")
def test_a_kill_of_the_whole_service_leaves_videos_that_play(folder: Folder) -> None:
    """As systemd kills: the encoder goes, too. What was written of the last segment plays."""
    folder.write(f"record: {{path: '{folder.path}/videos', clean: true}}\n")
    with running(folder.path) as pilot:
        wait_until(lambda: any(path.stat().st_size > 8000 for path in folder.path.glob("videos/*.mp4")), pilot.text)
        pilot.process.send_signal(signal.SIGSTOP)
        for child in children(pilot.process.pid):
            os.kill(child, signal.SIGKILL)
        pilot.process.kill()
        pilot.process.wait()
    (video,) = finished(folder)
    assert pictures(video)


def check(folder: Folder) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PILOT), "check", "--config", "x.yaml"]
    return subprocess.run(command, cwd=folder.path, capture_output=True, text=True, timeout=60)


def test_check_makes_no_video_and_empties_none(folder: Folder) -> None:
    done = check(folder)
    assert done.returncode == 0, done.stdout
    assert not (folder.path / "videos").exists()
    (folder.path / "out.mp4").write_text("of yesterday")
    folder.write("record: {path: out.mp4}\n")
    assert check(folder).returncode == 0
    assert (folder.path / "out.mp4").read_text() == "of yesterday"


def test_check_tells_of_a_recording_that_cannot_be_had(folder: Folder) -> None:
    folder.write("record: {path: out.mp4, on: vehicles}\n")
    done = check(folder)
    assert done.returncode == 2
    assert "record.on: vehicles makes many. Name a folder instead." in done.stdout
    folder.write("record: {on: sometimes, segment_s: 0}\n")
    done = check(folder)
    assert done.returncode == 2
    assert "record.on is 'sometimes'; allowed is one of always, vehicles" in done.stderr
    assert "record.segment_s is 0; allowed is a number from 1 up to 86400" in done.stderr


def test_two_pilots_do_not_share_a_folder(folder: Folder, pilot: Running) -> None:
    (folder.path / "second").mkdir()
    second = Folder(folder.path / "second")
    second.write(f"record: {{path: '{folder.path}/videos'}}\n")
    done = check(second)
    assert done.returncode == 3
    assert f"is being written by another pilot (process {pilot.process.pid})" in done.stdout


def test_without_any_encoder_program_opencv_records(folder: Folder) -> None:
    tools = folder.path / "bin"
    tools.mkdir()
    environment = {**os.environ, "PATH": str(tools)}
    folder.write(f"record: {{path: '{folder.path}/videos', segment_s: 2, clean: true}}\nrun: {{max_frames: 60}}\n")
    command = [sys.executable, str(PILOT), "--config", "x.yaml"]
    done = subprocess.run(command, cwd=folder.path, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert [len(pictures(path)) for path in segments(folder.path / "videos")] == [50, 10]
