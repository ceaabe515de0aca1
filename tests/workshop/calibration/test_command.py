"""The command: what it prints, what it warns of, and what a signal in the middle leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from perception.core.errors import BackendError, SettingsError
from perception.system.stop import StopFlag
from perception.workshop.calibration import command
from perception.workshop.calibration.calibration_set import read_set
from perception.workshop.calibration.command import CalibrationOptions, build
from perception.workshop.calibration.progress_bar import Interrupted
from perception.workshop.calibration.scanning import FrameCandidate
from perception.workshop.calibration.vehicles import Judge, open_judge
from tests.camera.clips import write_clip
from tests.workshop.calibration.sets import names, write_pictures

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def judge_by_number(model: str | None) -> Iterator[Judge]:
    """Finds every second frame empty, or with no model nothing."""
    empty = None if model == "none" else (lambda candidate: candidate.frame % 2 == 1)
    yield Judge(empty, "no weights were found" if empty is None else "a model")


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CalibrationOptions:
    monkeypatch.setattr(command, "open_judge", judge_by_number)
    clips = [str(write_clip(tmp_path / name, count)) for name, count in (("a.mp4", 80), ("b.mp4", 160))]
    return CalibrationOptions(
        clips, 100, 10, 1, None, tmp_path / "calibration", tmp_path / "calibration.yaml", "jpg", force=False
    )


def test_a_set_is_built_and_told_of(options: CalibrationOptions, logged: list[str]) -> None:
    lines = build(options, StopFlag())
    found = read_set(options.data)
    assert (len(found.images), len(found.held_out)) == (100, 10)
    assert lines[0] == "Calibration set: 100 images of 240 frames, 10 held out, seed 1"
    assert lines[1].endswith("of     80  a.mp4")
    assert "empty (by a model)" in lines[3]
    assert lines[-1] == f"Next: python3 scripts/export_int8_engine.py --data {options.data}"
    assert any(line.startswith("WARNING A set of 100 images is small") for line in logged)


def test_the_report_says_how_far_the_filters_gave_way(options: CalibrationOptions) -> None:
    lines = build(replace(options, count=200), StopFlag())
    (place,) = [number for number, line in enumerate(lines) if line.startswith("Filters:")]
    assert "of 200 pass (differing by 4/255, 35% of the usual sharpness, not empty); for the others" in lines[place]
    assert any(line.endswith("at any frame at all") for line in lines[place + 1 :])


def test_the_same_seed_gives_the_same_set(options: CalibrationOptions) -> None:
    sha256 = []
    for seed in (1, 1, 2):
        build(replace(options, seed=seed, force=True), StopFlag())
        sha256.append(read_set(options.data).manifest_sha256)
    assert sha256[0] == sha256[1] != sha256[2]


def test_without_a_model_the_filter_is_off_and_says_so(options: CalibrationOptions) -> None:
    lines = build(replace(options, model="none"), StopFlag())
    assert "Empty frames are not told from others: no weights were found. Name a model with --model." in lines


def test_where_there_are_too_few_frames_a_warning_says_so(options: CalibrationOptions, logged: list[str]) -> None:
    build(replace(options, count=355, held_out=64), StopFlag())
    found = read_set(options.data)
    assert (len(found.images), len(found.held_out)) == (204, 36)
    assert "WARNING 355 images were asked for, and there are 240 frames in all" in logged
    assert "WARNING 36 frames are held out, not 64: there are too few" in logged


def test_a_tiny_set_needs_force(options: CalibrationOptions) -> None:
    with pytest.raises(SettingsError, match="A set of 99 images is too small"):
        build(replace(options, count=99), StopFlag())
    with pytest.raises(SettingsError, match="A set of 73 images is too small"):
        build(replace(options, sources=options.sources[:1]), StopFlag())
    assert not options.output.exists()
    build(replace(options, count=5, force=True), StopFlag())
    assert len(read_set(options.data).images) == 5


def test_without_one_readable_frame_nothing_is_built(
    options: CalibrationOptions, tmp_path: Path, logged: list[str]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    with pytest.raises(SettingsError, match="There is not one frame to choose from"):
        build(replace(options, sources=[str(tmp_path / "broken")], force=True), StopFlag())
    assert f"WARNING 1 files are no images that can be read and are passed over: {tmp_path}/broken/a.png" in logged


def test_another_format_is_refused(options: CalibrationOptions) -> None:
    with pytest.raises(SettingsError, match="--format 'gif' is none of jpg, png"):
        build(replace(options, format="gif"), StopFlag())


@pytest.mark.parametrize("at", [0, 100])
def test_a_stop_ends_it_and_leaves_the_old_set(
    options: CalibrationOptions, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(options, StopFlag())
    before = read_set(options.data)
    stop = StopFlag()
    stop.requested = at == 0
    asked: list[int] = []

    def empty(candidate: FrameCandidate) -> bool:
        asked.append(candidate.frame)
        stop.requested = len(asked) == at
        return False

    @contextmanager
    def judge(model: str | None) -> Iterator[Judge]:
        yield Judge(empty, "a model")

    monkeypatch.setattr(command, "open_judge", judge)
    with pytest.raises(Interrupted, match="Stopped"):
        build(replace(options, seed=2, force=True), stop)
    assert read_set(options.data) == before


# The model


def test_the_shipped_model_tells_empty_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (path,) = write_pictures(tmp_path, ["noise.png"])
    with open_judge("vehicle-n.onnx") as judge:
        assert judge.words == "vehicle-n.onnx (onnxruntime fp32)"
        assert judge.empty is not None
        assert judge.empty(FrameCandidate(0, 0, None, None, 1.0, path))  # type: ignore[arg-type]


def test_a_model_that_was_named_must_run(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="was not found"), open_judge(str(tmp_path / "mine.onnx")):
        pytest.fail("it was opened")


def test_where_no_weights_are_found_nobody_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("perception.workshop.calibration.vehicles.ROOT", tmp_path)
    with open_judge(None) as judge:
        assert judge == Judge(None, "no weights were found")


# As a process


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    places = ("--output", str(tmp_path / "set"), "--data", str(tmp_path / "set.yaml"))
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "build_calibration_set.py"), *words, *places],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere.mp4"], 3, "The file nowhere.mp4 does not exist"),
        (["set.py", "--count", "50"], 2, "A set of 50 images is too small"),
        ([], 2, "Missing argument"),
    ],
)
def test_a_mistake_ends_it_with_a_sentence_and_its_exit_code(
    tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    with start(tmp_path, *words) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert said in output
    assert "Traceback" not in output


def catches(pid: int, number: signal.Signals) -> bool:
    """Return True if a process has a handler of its own for a signal: see proc_pid_status(5)."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    (caught,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")]
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    drive = "demo://drive?duration=600&width=320&height=240"
    with start(tmp_path, drive) as process:
        while not catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # by now it opens the drive or looks at it
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.startswith("Stopped")
    assert names(tmp_path) == []
