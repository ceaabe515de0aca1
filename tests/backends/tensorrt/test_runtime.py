"""Engines on the fake TensorRT: what is taken, each misfit with its sentence, and the order in which all is freed."""

from __future__ import annotations

import gc
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from perception.backends.gpu.cuda import Gpu
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.log_tail import REMEMBERED_LINES, LogTail, make_logger
from perception.backends.tensorrt.runtime import USED, Engine, import_tensorrt, missing_names
from perception.backends.tensorrt.session import TensorRtSession
from perception.core.errors import BackendError, GpuError
from tests.doubles.emulated_errors import LaunchError, LogicError
from tests.doubles.emulated_gpu import Device
from tests.doubles.engine_files import sidecar
from tests.doubles.fake_tensorrt import (
    HEADER_BYTES,
    ICudaEngine,
    IExecutionContext,
    ProfilingVerbosity,
    Runtime,
    write_engine,
)

OPEN: dict[str, Any] = {"batch": None, "input_hw": None}
PROFILE = ((1, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))


@pytest.fixture
def gpu(tensorrt: ModuleType) -> Iterator[Gpu]:
    with Gpu() as gpu:
        yield gpu
        if tensorrt.machine.alive:
            gc.collect()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.engine"


def refusal(path: Path, gpu: Gpu) -> str:
    """What is said of an engine that cannot serve."""
    file = open_engine(path)
    with pytest.raises(BackendError) as caught:
        Engine(file, gpu, 64)
    assert caught.value.cure
    assert str(path) in caught.value.what
    return str(caught.value)


def test_an_engine_tells_its_tensors_and_is_freed_in_order(gpu: Gpu, path: Path, tensorrt: ModuleType) -> None:
    engine = Engine(open_engine(write_engine(path)), gpu, 640)
    assert (engine.input.name, engine.input.shape) == ("images", (1, 3, 64, 64))
    assert engine.input.dtype == engine.output.dtype == np.float32
    assert (engine.output.name, engine.output.shape) == ("output0", (1, 12, 32))
    assert (engine.input_hw, engine.batch, engine.is_dynamic, engine.precision) == ((64, 64), 1, False, "fp32")
    engine.close()
    gc.collect()
    assert tensorrt.machine.died == ["context", "engine", "runtime"]


@pytest.mark.parametrize(
    ("model", "profile", "shape", "output"),
    [
        ({"batch": 4}, (), (4, 3, 64, 64), (4, 12, 32)),
        ({"batch": None}, PROFILE, (4, 3, 64, 64), (4, 12, 32)),
        (OPEN, ((1, 3, 32, 32), (2, 3, 96, 96), (3, 3, 96, 96)), (3, 3, 64, 64), (3, 12, 32)),
        (OPEN, ((1, 3, 96, 32), (1, 3, 96, 32), (1, 3, 96, 48)), (1, 3, 96, 48), (1, 12, 32)),
        ({"head": "end2end", "dtype": np.float16}, (), (1, 3, 64, 64), (1, 5, 6)),
    ],
    ids=["static batch", "open batch", "open size", "open size beyond the profile", "end to end, half"],
)  # fmt: skip
def test_open_sizes_become_the_largest_that_the_profile_allows(
    gpu: Gpu, path: Path, model: dict[str, Any], profile: Any, shape: tuple[int, ...], output: tuple[int, ...]
) -> None:
    engine = Engine(open_engine(write_engine(path, profile=profile, **model)), gpu, 64)
    assert (engine.input.shape, engine.output.shape) == (shape, output)
    assert engine.input.dtype == engine.output.dtype == model.get("dtype", np.float32)
    assert engine.is_dynamic == (model.get("batch", 1) is None)
    engine.close()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"extra": ["output1"]}, r"it has 1 inputs and 2 outputs \(images, output0, output1\), not one each"),
        ({"dtypes": {"output0": "INT64"}}, "its tensor output0 is DataType.INT64, not float32 or float16"),
        ({"dtypes": {"images": "INT64"}}, "images is DataType.INT64|an input of int64"),
        ({"shapes": {"output0": [1, -1, 6]}}, r"its tensor output0 has shape \(1, -1, 6\)"),
        ({"shapes": {"images": [1, 1, 64, 64]}}, "takes an input of 1 x 1 x 64 x 64, not images"),
        ({"shapes": {"images": [1, 64]}}, "takes an input of 1 x 64, not images"),
        ({"formats": {"images": "CHW2"}}, r"its tensor images is laid out as TensorFormat\.CHW2, not row by row"),
        ({"formats": {"output0": "HWC8"}}, r"its tensor output0 is laid out as TensorFormat\.HWC8, not row by row"),
    ],
)
def test_an_engine_that_is_no_detector_is_refused(gpu: Gpu, path: Path, told: dict[str, Any], said: str) -> None:
    assert re.search(said, refusal(write_engine(path, told=told), gpu))


def test_what_is_laid_out_row_by_row_is_taken_whatever_words_tensorrt_has_for_it(gpu: Gpu, path: Path) -> None:
    Engine(open_engine(write_engine(path, told={"formats": {"images": "LINEAR"}})), gpu, 64).close()


def test_the_lean_run_time_has_words_for_formats_alone(
    gpu: Gpu, path: Path, tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tensorrt, "TensorFormat")
    Engine(open_engine(write_engine(path)), gpu, 64).close()
    told = refusal(write_engine(path, told={"formats": {"images": "CHW2"}}), gpu)
    assert "its tensor images is laid out as Format (kCHW2), not row by row" in told


def test_a_shape_that_tensorrt_refuses_is_a_misfit(gpu: Gpu, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IExecutionContext, "set_input_shape", lambda *_: False)
    said = refusal(write_engine(path, batch=None, profile=PROFILE), gpu)
    assert "it refuses an input of shape (4, 3, 64, 64): " in said


def test_an_engine_runs_no_fewer_pictures_than_its_profile_allows(gpu: Gpu, path: Path, tensorrt: ModuleType) -> None:
    smallest = ((2, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))
    engine = Engine(open_engine(write_engine(path, batch=None, profile=smallest)), gpu, 64)
    for images in (1, 3):
        engine.set_batch(images)
        engine.enqueue()
        gpu.stream.synchronize()
    assert tensorrt.machine.ran == [2, 3]
    engine.close()


def test_no_launch_tells_of_its_layers(gpu: Gpu, path: Path, tensorrt: ModuleType) -> None:
    engine = Engine(open_engine(write_engine(path, batch=None, profile=PROFILE)), gpu, 64)
    for images in (1, 4):
        engine.set_batch(images)
        engine.enqueue()
    gpu.stream.synchronize()
    assert tensorrt.machine.nvtx == [ProfilingVerbosity.NONE] * 2
    engine.close()


def test_an_input_that_its_header_does_not_name_is_refused(gpu: Gpu, path: Path) -> None:
    said = refusal(write_engine(path, header={"imgsz": [640, 640]}), gpu)
    assert "takes an input of 1 x 3 x 64 x 64, its header says any x any x 640 x 640" in said


@pytest.mark.parametrize("version", ["8.6.1", "10.7.0", "11.4.0"])
def test_another_tensorrt_is_named_before_anything_is_deserialised(
    gpu: Gpu, path: Path, version: str, tensorrt: ModuleType
) -> None:
    said = refusal(write_engine(path, version=version), gpu)
    assert f"was built by TensorRT {version}, this device has 10.3.0. Rebuild it: " in said
    assert not tensorrt.machine.died, "nothing was made"


def test_another_gpu_is_named(gpu: Gpu, path: Path, device: Device) -> None:
    write_engine(path)
    other = {"gpu_name": "NVIDIA Thor", "compute_capability": "11.0"}
    told = {"precision": "fp32", "input_shape": (1, 3, 64, 64), **other}
    sidecar(path.read_bytes(), **told).write(path.with_suffix(".json"))
    said = refusal(path, gpu)
    assert "was built for the GPU NVIDIA Thor (compute capability 11.0), this device has Orin (8.7)" in said


def test_a_corrupted_plan_is_refused_with_what_tensorrt_says(gpu: Gpu, path: Path) -> None:
    data = bytearray(write_engine(path).read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    said = refusal(path, gpu)
    assert "does not load into TensorRT: Error Code 1: Serialization (Serialization assertion" in said
    assert "Rebuild it on this device" in said


def test_a_plan_of_unknown_header_is_tensorrts_to_judge(gpu: Gpu, path: Path) -> None:
    data = write_engine(path).read_bytes()
    start = data.index(b"ftrt")
    path.write_bytes(data[:start] + b"ptrt" + data[start + 4 :])
    assert "does not load into TensorRT: IRuntime::deserializeCudaEngine: Error Code 1" in refusal(path, gpu)


@pytest.mark.parametrize(
    ("call", "said"), [("deserialize", "does not load into TensorRT: .*out of memory"), ("context", "has no room on")]
)
def test_too_little_memory_is_said_in_tensorrts_words(
    gpu: Gpu, path: Path, tensorrt: ModuleType, call: str, said: str
) -> None:
    tensorrt.machine.refuse.add(call)
    assert re.search(said, refusal(write_engine(path), gpu))


def test_device_memory_that_is_not_there_is_a_fault_of_this_backend(gpu: Gpu, path: Path, device: Device) -> None:
    device.fail["mem_alloc"] = LogicError("out of memory")
    with pytest.raises(BackendError, match="CUDA could not give 49152 bytes of device memory: out of memory"):
        Engine(open_engine(write_engine(path)), gpu, 64)


def test_what_cannot_be_checked_is_warned_of_once(gpu: Gpu, path: Path, logged: list[str]) -> None:
    Engine(open_engine(write_engine(path)), gpu, 64).close()
    warnings = [line for line in logged if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"WARNING {path} has no sidecar: which GPU it was built for, ")


# The module


def test_the_fake_has_every_name_that_is_used_and_is_taken(tensorrt: ModuleType) -> None:
    assert missing_names(tensorrt) == []
    assert import_tensorrt() is tensorrt


@pytest.mark.parametrize("name", ["IExecutionContext.execute_async_v3", "DataType.HALF"])
def test_a_tensorrt_that_lacks_a_name_is_refused(
    tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    owner, _, attribute = name.partition(".")
    kept = {key: value for key, value in vars(getattr(tensorrt, owner)).items() if key in ("FLOAT", "set_input_shape")}
    monkeypatch.setattr(tensorrt, owner, type(owner, (), kept))
    assert attribute not in kept
    with pytest.raises(BackendError, match=rf"TensorRT 10\.3\.0 lacks .*{name}.*TensorRT 8\.6 or newer"):
        import_tensorrt()


@pytest.mark.parametrize("fault", [ImportError("libnvinfer.so.10: cannot open"), OSError("libcudart.so.12: missing")])
def test_a_tensorrt_that_does_not_load_is_refused_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "tensorrt":
                raise fault

    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(BackendError, match=rf"tensorrt does not load: {fault}.*system-site-packages"):
        import_tensorrt()


def test_the_logger_remembers_the_last_lines_and_puts_errors_first(tensorrt: ModuleType, logged: list[str]) -> None:
    log_tail = LogTail()
    assert log_tail.why() == "it gave no reason"
    passed_on = make_logger(tensorrt, log_tail)
    severity = tensorrt.ILogger.Severity
    for number in range(2 * REMEMBERED_LINES):
        passed_on.log(severity.WARNING, f"warning {number}")
    assert log_tail.why() == f"warning {2 * REMEMBERED_LINES - 1}"
    passed_on.log(severity.ERROR, "an error")
    passed_on.log(severity.WARNING, "a later warning")
    passed_on.log(severity.INFO, "chatter")
    passed_on.log(severity.VERBOSE, "more chatter")
    assert log_tail.why() == "an error"
    passed_on.log(severity.INTERNAL_ERROR, "a worse one")
    assert log_tail.why() == "a worse one"
    assert len(log_tail.lines) == REMEMBERED_LINES
    assert "DEBUG TensorRT error: an error" in logged
    assert not [line for line in logged if "chatter" in line]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("call", ["deserialize_cuda_engine", "create_execution_context", "execute_async_v3"])
def test_an_interruption_while_tensorrt_logs_is_not_lost(
    gpu: Gpu, path: Path, monkeypatch: pytest.MonkeyPatch, tensorrt: ModuleType, call: str, interruption: Any
) -> None:
    """A Ctrl-C in a long call is raised within its first line of Python, and TensorRT swallows what that raises."""
    owner: Any = next(kind for kind in (Runtime, ICudaEngine, IExecutionContext) if hasattr(kind, call))
    real = getattr(owner, call)
    loggers = list[Any]()

    def logs(self: Any, *arguments: Any) -> Any:
        loggers[0].log(tensorrt.ILogger.Severity.WARNING, "slow")
        return real(self, *arguments)

    def remember(self: Any, told: Any, machine: Any) -> None:
        loggers.append(told)
        start(self, told, machine)

    start = Runtime.__init__
    monkeypatch.setattr(Runtime, "__init__", remember)

    def interrupted(message: str) -> None:
        if message.endswith("slow"):
            raise interruption

    monkeypatch.setattr(owner, call, logs)
    monkeypatch.setattr("perception.backends.tensorrt.runtime.logger.debug", interrupted)
    file = open_engine(write_engine(path))

    def run() -> None:
        with closing(Engine(file, gpu, 64)) as engine:
            engine.enqueue()

    with pytest.raises(interruption):
        run()


# Running


def test_nothing_runs_before_the_addresses_are_set(gpu: Gpu, path: Path, tensorrt: ModuleType) -> None:
    """The fake keeps to TensorRT's contract, or the tests on it would prove nothing."""
    runtime = tensorrt.Runtime(make_logger(tensorrt, LogTail()))
    context = runtime.deserialize_cuda_engine(
        open_engine(write_engine(path, batch=None, profile=PROFILE)).plan
    ).create_execution_context()
    assert context.execute_async_v3(gpu.stream.handle) is False
    for name in ("images", "output0"):
        context.set_tensor_address(name, 4096)
    assert context.execute_async_v3(gpu.stream.handle) is False, "its shape is open"
    assert context.set_input_shape("images", (5, 3, 64, 64)) is False
    assert context.set_input_shape("images", (3, 3, 64, 64)) is True
    assert tuple(context.get_tensor_shape("output0")) == (3, 12, 32)
    assert runtime.deserialize_cuda_engine(b"ftrt" + struct.pack("<I", 0) + bytes(HEADER_BYTES)) is None


@pytest.mark.usefixtures("tensorrt")
def test_a_session_gives_the_output_of_each_picture(path: Path) -> None:
    session = TensorRtSession(Engine(open_engine(write_engine(path, batch=4)), Gpu(), 64), {})
    assert (session.name, session.batch, session.input_hw) == ("tensorrt", 4, (64, 64))
    images = np.random.default_rng(0).random((4, 3, 64, 64), np.float32)
    output = session.run(images)
    assert output.shape == (4, 12, 32)
    assert output[0, 6, 0] == pytest.approx(0.875)
    device_copy = session.run(np.zeros_like(images)).copy()
    assert not np.array_equal(session.run(images), device_copy), "what is given reaches the engine"
    session.close()


@pytest.mark.usefixtures("tensorrt")
def test_a_session_of_open_batch_runs_what_there_is(path: Path, tensorrt: ModuleType) -> None:
    session = TensorRtSession(Engine(open_engine(write_engine(path, batch=None, profile=PROFILE)), Gpu(), 64), {})
    assert session.batch is None
    images = np.random.default_rng(0).random((6, 3, 64, 64), np.float32)
    together = session.run(images).copy()
    assert together.shape == (6, 12, 32)
    for number in (0, 5):
        np.testing.assert_array_equal(session.run(images[number : number + 1])[0], together[number])
    assert tensorrt.machine.ran == [4, 2, 1, 1]
    session.close()


def test_an_engine_that_refuses_its_first_run_is_one_that_cannot_serve(
    gpu: Gpu, path: Path, tensorrt: ModuleType
) -> None:
    engine = Engine(open_engine(write_engine(path)), gpu, 64)
    tensorrt.machine.refuse.add("execute")
    with pytest.raises(BackendError, match=r"TensorRT refused to run .*enqueueV3.* Rebuild it on this device: "):
        engine.try_out()
    engine.close()


def test_a_gpu_that_fails_in_the_first_run_is_at_fault(gpu: Gpu, path: Path, device: Device) -> None:
    engine = Engine(open_engine(write_engine(path)), gpu, 64)
    device.fail["synchronize"] = LaunchError("an illegal memory access was encountered")
    with pytest.raises(GpuError, match="an illegal memory access"):
        engine.try_out()
    device.fail.clear()
    engine.close()


def test_a_refused_run_is_a_fault_of_the_gpu(gpu: Gpu, path: Path, tensorrt: ModuleType) -> None:
    engine = Engine(open_engine(write_engine(path)), gpu, 64)
    tensorrt.machine.refuse.add("execute")
    with pytest.raises(GpuError, match=r"TensorRT refused to run .*: enqueueV3: .*illegal memory access"):
        engine.enqueue()
    engine.close()


@pytest.mark.usefixtures("tensorrt")
@pytest.mark.parametrize("call", ["memcpy_htod_async", "memcpy_dtoh_async", "synchronize"])
def test_a_cuda_error_in_a_run_of_a_session_is_a_fault_of_the_gpu(path: Path, device: Device, call: str) -> None:
    session = TensorRtSession(Engine(open_engine(write_engine(path)), Gpu(), 64), {})
    device.fail[call] = LaunchError(f"{call} failed: an illegal memory access was encountered")
    with pytest.raises(GpuError, match="an illegal memory access") as caught:
        session.run(np.zeros((1, 3, 64, 64), np.float32))
    assert caught.value.exit_code == 5
    session.close()


def test_the_fake_has_no_name_that_the_run_time_does_not_use() -> None:
    for kind in (Runtime, ICudaEngine, IExecutionContext):
        names = {f"{kind.__name__}.{name}" for name in vars(kind) if not name.startswith("_")}
        assert names == {name for name in USED if name.startswith(f"{kind.__name__}.")}
