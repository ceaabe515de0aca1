"""The benchmarks on engines: that one which cannot start leaves nothing open, and how a start is told apart."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from perception.backends.gpu import kernels
from perception.backends.gpu.cuda import Gpu
from perception.backends.gpu.kernels import KernelsUnavailable
from perception.core.errors import BackendError
from perception.core.frame import Frame
from perception.lab.benchmark import start_cost
from perception.lab.benchmark.engine import commands as engine_commands
from perception.lab.benchmark.engine import cost as engine_cost
from perception.lab.benchmark.engine import start as engine_start
from perception.lab.benchmark.engine.floor import floors
from perception.lab.benchmark.processor import stay_on
from perception.lab.benchmark.start_cost import Start
from tests.doubles.emulated_errors import LogicError
from tests.doubles.emulated_gpu import BINARY, Device
from tests.doubles.fake_tensorrt import write_engine
from tests.doubles.tiny_model import NAMES

PROFILE = ((1, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))


@pytest.fixture
def engine(tmp_path: Path, tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kernels, "_build", lambda architecture: BINARY)
    return write_engine(tmp_path / "tiny.engine", batch=None, profile=PROFILE)


def test_all_ways_see_the_same_and_the_floor_is_that_of_one_picture(engine: Path, tensorrt: ModuleType) -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8) for seed in range(5)]
    with ExitStack() as stack:
        ways = engine_cost.open_ways(engine, list(NAMES.values()), engine.parent, len(images), stack)
        for service in (ways.graph, ways.eager, ways.usual):
            found = service.detect([Frame(images[0], 0, 0.0, "test")])[0].detections
            assert found.class_id.tolist() == [2, 5]
        lent = engine_cost.lent_frames(ways.graph, images)
        assert len(lent) == len(images)
        del lent
        tensorrt.machine.ran.clear()
        ways.engine.enqueue()
        assert tensorrt.machine.ran == [1]


def no_kernels(device: Device, patch: pytest.MonkeyPatch) -> None:
    def build(architecture: str) -> bytes:
        raise KernelsUnavailable("nvcc was not found")

    patch.setattr(kernels, "_build", build)


def no_memory(device: Device, patch: pytest.MonkeyPatch) -> None:
    device.fail["pagelocked_zeros"] = LogicError("out of memory")


@pytest.mark.parametrize("spoil", [no_kernels, no_memory])
def test_ways_that_cannot_be_opened_leave_nothing_open(
    engine: Path,
    device: Device,
    tensorrt: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Device, pytest.MonkeyPatch], None],
) -> None:
    spoil(device, monkeypatch)
    with pytest.raises(BackendError), ExitStack() as stack:
        engine_cost.open_ways(engine, list(NAMES.values()), engine.parent, 5, stack)
    device.fail.clear()
    assert device.contexts == 0
    assert not tensorrt.machine.alive


def test_a_floor_that_cannot_be_recorded_leaves_nothing_open(
    engine: Path, device: Device, tensorrt: ModuleType
) -> None:
    device.refuse["cuStreamBeginCapture_v2"] = 900
    with pytest.raises(BackendError, match="cannot be a CUDA graph: cuStreamBeginCapture_v2 gave 900"), Gpu() as gpu:
        floors(gpu, [engine], 4, 1, 1)
    assert device.contexts == 0
    assert not tensorrt.machine.alive


def test_engines_alone_are_timed_in_turn_with_one_picture(
    engine: Path, tensorrt: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_engine(tmp_path / "other.engine", batch=None, profile=PROFILE)
    figures = tmp_path / "figures.json"
    engine_commands.floor([engine, other, engine], rounds=2, runs=3, json=figures)
    found = json.loads(figures.read_text())
    assert list(found["floor"]) == [str(engine), str(other)]
    assert all(row["max"] > 0 for row in found["floor"].values())
    assert list(found["ratios"]) == [str(other)]
    assert set(tensorrt.machine.ran) == {1}
    assert f"F of {other} / F of {engine} = " in capsys.readouterr().out
    assert not tensorrt.machine.alive


@pytest.mark.parametrize("model", [{"batch": 4}, {"batch": None, "profile": (PROFILE[1], *PROFILE[1:])}])
def test_an_engine_that_never_runs_one_picture_is_refused_with_the_cure(
    engine: Path, device: Device, tmp_path: Path, model: dict[str, Any]
) -> None:
    many = write_engine(tmp_path / "many.engine", **model)
    with pytest.raises(BackendError, match=r"many\.engine runs [24] pictures at once or more, not 1\. Give"):
        engine_commands.floor([engine, many])
    assert device.contexts == 0


def test_an_engine_alone_that_is_none_ends_with_a_sentence(engine: Path, device: Device, tmp_path: Path) -> None:
    broken = tmp_path / "broken.engine"
    broken.write_text("nothing")
    with pytest.raises(BackendError, match=r"broken\.engine is not a TensorRT engine"):
        engine_commands.floor([engine, broken])
    with pytest.raises(BackendError, match=r"nowhere\.engine"):
        engine_commands.floor([tmp_path / "nowhere.engine"])
    assert device.contexts == 0


def test_the_measured_thread_stays_on_the_core_that_is_named() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        stay_on(None)
        assert os.sched_getaffinity(0) == allowed
        stay_on(min(allowed))
        assert os.sched_getaffinity(0) == {min(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)
    with pytest.raises(BackendError, match="no core 4000 for this process"):
        stay_on(4000)


def test_predict_in_an_interpreter_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="/nowhere/python does not run: No such file"):
        engine_commands._predict(tmp_path / "x.pt", tmp_path / "x.mp4", "/nowhere/python")


LOG = (
    "[libx] a line of a library\n",
    "2026-01-02 03:04:06.500 INFO    Reading settings\n",
    "2026-01-02 03:04:06.750 INFO    Loading vehicle detection model: x.engine\n",
    "2026-01-02 03:04:08.750 INFO    Serving with TensorRT: tensorrt fp16, input 640x640 (the first choice)\n",
    "2026-01-02 03:04:09.000 INFO    Vehicle detection: 2 vehicles in 3.0 ms\n",
)


def test_the_parts_of_a_start_are_those_of_its_log() -> None:
    start = Start(datetime(2026, 1, 2, 3, 4, 5), 4.0, LOG, 0.0)
    found = engine_start.parts(start)
    assert list(found.values()) == [1.5, 0.25, 2.0, 0.25]
    assert sum(found.values()) == start.first_s
    with pytest.raises(BackendError, match="no line with a time stamp and 'Serving with'"):
        engine_start.parts(Start(start.begun, 4.0, LOG[:3], 0.0))


def test_a_context_alone_tells_what_cuda_took() -> None:
    lines = ("Vehicle detection: none, CUDA took 0.125\n",)
    assert engine_start.cuda_seconds([Start(datetime(2026, 1, 2), 1.0, lines, 0.0)]) == [0.125]


def test_a_process_that_fails_is_told_with_its_last_line() -> None:
    with pytest.raises(BackendError, match=r"ended with 3: out of luck"):
        start_cost.measure(["/bin/sh", "-c", "echo a line; echo out of luck; exit 3"])
    with pytest.raises(BackendError, match=r"ended with 0: it said nothing"):
        start_cost.measure(["/bin/true"])
