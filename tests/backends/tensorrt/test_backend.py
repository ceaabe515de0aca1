"""An engine file becomes a backend, on the emulated GPU: which way it runs, and that a fault leaves nothing open."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from perception.backends.base import Wanted
from perception.backends.gpu import kernels
from perception.backends.gpu.pipeline import GpuPipeline
from perception.backends.models.model_files import find_model
from perception.backends.session_backend import SessionBackend
from perception.backends.tensorrt.backend import open_engine_backend
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.step import open_engine as open_engine_step
from perception.core.errors import BackendError, GpuError, SettingsError
from perception.settings.model import ModelSettings, Settings
from tests.doubles.emulated_errors import LaunchError, LogicError
from tests.doubles.emulated_gpu import BINARY, Device
from tests.doubles.fake_tensorrt import make_plan, write_engine
from tests.doubles.fakes import infer, make_image
from tests.doubles.tiny_model import NAMES

VEHICLES = ("bicycle", "car", "motorcycle", "bus", "truck")


@pytest.fixture
def path(tmp_path: Path, tensorrt: ModuleType) -> Path:
    return write_engine(tmp_path / "tiny.engine")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """nvcc is there, and works."""
    monkeypatch.setattr(kernels, "_build", lambda architecture: BINARY)


@pytest.fixture
def no_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none."""
    monkeypatch.setattr(kernels, "find_nvcc", lambda: None)


def open_it(path: Path, names: tuple[str, ...] = ()) -> GpuPipeline | SessionBackend:
    return open_engine_backend(open_engine(path), names, 64, path.parent / "kernels")


@pytest.mark.usefixtures("built")
def test_it_runs_on_the_gpu_from_picture_to_candidates(path: Path) -> None:
    with open_it(path) as backend:
        assert isinstance(backend, GpuPipeline)
        assert (backend.info.name, backend.info.precision, backend.info.class_names[2]) == ("tensorrt", "fp32", "car")
        assert backend.lend((48, 64)) is None, "no picture of this size was seen"
        assert infer(backend, [make_image()], 0.25)[0][0].class_id.tolist() == [2, 2, 5]
        assert backend.lend((48, 64)) is not None


@pytest.mark.usefixtures("no_nvcc")
def test_without_kernels_it_serves_with_the_cpu_at_both_ends_and_says_so_once(path: Path, logged: list[str]) -> None:
    with open_it(path) as backend:
        assert isinstance(backend, SessionBackend)
        assert (backend.info.name, backend.info.precision) == ("tensorrt", "fp32")
        for _ in range(3):
            assert infer(backend, [make_image()], 0.25)[0][0].class_id.tolist() == [2, 2, 5]
        assert backend.lend((48, 64)) is None
    said = [line for line in logged if "CPU" in line]
    assert said == [
        "WARNING Preprocess and decode run on the CPU, which costs milliseconds a frame: "
        "nvcc was not found (export PATH=/usr/local/cuda/bin:$PATH)"
    ]


@pytest.mark.usefixtures("no_nvcc")
def test_kernels_that_were_kept_need_no_nvcc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "_build", lambda architecture: BINARY)
        with open_it(path):
            pass
    with open_it(path) as backend:
        assert isinstance(backend, GpuPipeline)


@pytest.mark.usefixtures("built")
def test_a_bare_plan_gets_its_names_from_the_settings(path: Path) -> None:
    path.write_bytes(make_plan(path.with_suffix(".onnx")))
    with pytest.raises(BackendError, match=r"does not name its classes.*model\.names"):
        open_it(path)
    names = tuple(NAMES[number] for number in range(len(NAMES)))
    with open_it(path, names=names) as backend:
        assert backend.info.precision == "unknown"
        assert infer(backend, [make_image()], 0.25)[0][0].class_id.tolist() == [2, 2, 5]


def test_classes_that_the_model_lacks_are_told_before_the_gpu_is_touched(path: Path, device: Device) -> None:
    settings = Settings(model=ModelSettings(weights=str(path)), classes=("lorry", "tractor"))
    wanted = Wanted(settings, find_model(str(path), path.parent, path.parent), lambda _: None, None)
    with pytest.raises(SettingsError, match="tractor"):
        open_engine_step(wanted)
    assert not device.calls


@pytest.mark.parametrize(
    ("call", "kernels_there"),
    [
        *product(("init", "push", "Stream", "mem_alloc", "pagelocked_zeros", "deserialize", "context"), (True, False)),
        *(("memcpy_htod", True), ("names", True), ("names", False)),
    ],
)
def test_a_fault_in_the_start_leaves_nothing_open(
    path: Path,
    device: Device,
    tensorrt: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    kernels_there: bool,
) -> None:
    """The fixture `device` counts what is left: contexts, memory, graphs, and TensorRT's objects without a context."""
    if kernels_there:
        monkeypatch.setattr(kernels, "_build", lambda architecture: BINARY)
    else:
        monkeypatch.setattr(kernels, "find_nvcc", lambda: None)
    if call in ("deserialize", "context"):
        tensorrt.machine.refuse.add(call)
    elif call == "names":
        write_engine(path, header={"names": {"0": "person", "1": "car"}})
    else:
        device.fail[call] = LogicError(f"{call} failed: out of memory")
    with pytest.raises(BackendError) as caught:
        open_it(path)
    assert caught.value.cure
    assert device.contexts == 0
    del caught
    device.fail.clear()
    assert not tensorrt.machine.alive


@pytest.mark.parametrize("kernels_there", [True, False])
def test_an_engine_that_refuses_its_first_run_leaves_nothing_open(
    path: Path, tensorrt: ModuleType, request: pytest.FixtureRequest, kernels_there: bool
) -> None:
    request.getfixturevalue("built" if kernels_there else "no_nvcc")
    tensorrt.machine.refuse.add("execute")
    with pytest.raises(BackendError, match=r"TensorRT refused to run .*illegal memory access"):
        open_it(path)


@pytest.mark.usefixtures("built")
def test_a_gpu_that_fails_at_the_start_is_no_fault_of_the_engine(path: Path, device: Device) -> None:
    device.fail["synchronize"] = LaunchError("an illegal memory access was encountered")
    with pytest.raises(GpuError, match="an illegal memory access") as caught:
        open_it(path)
    assert caught.value.exit_code == 5
    assert device.contexts == 0


@pytest.mark.usefixtures("built")
def test_the_device_that_is_asked_for_is_taken(path: Path) -> None:
    with pytest.raises(BackendError, match=r"CUDA device 1 cannot be used: .*invalid device ordinal"):
        open_engine_backend(open_engine(path), (), 64, path.parent / "kernels", 1)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), SystemExit(0), ZeroDivisionError()])
def test_an_end_while_the_kernels_are_built_leaves_nothing_open(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def build(architecture: str) -> bytes:
        raise fault.with_traceback(None)

    monkeypatch.setattr(kernels, "_build", build)
    with pytest.raises(type(fault)):
        open_it(path)
    fault.__traceback__ = None


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("names", [{"0": "person", "5": "car"}, {"1": "person", "2": "car"}])
@pytest.mark.parametrize("head", ["raw", "end2end"])
def test_names_with_gaps_are_refused_in_a_sentence(path: Path, names: dict[str, str], head: Any) -> None:
    write_engine(path, header={"names": names}, head=head)
    with pytest.raises(BackendError):
        open_it(path)


@pytest.mark.usefixtures("built")
def test_half_precision_by_the_header(path: Path) -> None:
    write_engine(path, dtype=np.float16)
    with open_it(path) as backend:
        assert backend.info.precision == "fp16"
        assert infer(backend, [make_image()], 0.25)[0][0].confidence.tolist() == [0.875, 0.75, 0.5]
