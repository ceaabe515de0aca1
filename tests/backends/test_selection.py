"""Engines in the selection of a backend: which one serves, and the sentence that each misfit gets."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

import detector_service
from detector_service import open_service
from perception.backends import selection
from perception.backends.base import Export
from perception.backends.gpu import kernels
from perception.backends.models.model_files import WEIGHT_KINDS
from perception.core.errors import BackendError, SettingsError
from perception.core.frame import Frame
from perception.settings.model import EngineSettings, ModelSettings, Settings
from perception.system.home import ROOT
from perception.system.trusted_file import REBUILD
from tests.doubles.emulated_errors import LogicError
from tests.doubles.emulated_gpu import BINARY, Device
from tests.doubles.engine_files import sidecar
from tests.doubles.fake_tensorrt import make_plan, write_engine
from tests.doubles.fakes import FakeBackend, make_candidates, make_image
from tests.doubles.tiny_model import NAMES

Prepare = Callable[["World"], None]
Done = subprocess.CompletedProcess[str]


class World:
    """A model of both kinds, an engine in its folder and the weights beside it, and what may be wrong with them."""

    def __init__(self, folder: Path, device: Device, tensorrt: ModuleType, patch: pytest.MonkeyPatch) -> None:
        self.engine = folder / "engines" / "tiny.engine"
        self.engine.parent.mkdir(mode=0o755)
        self.write()
        self.onnx = self.engine.with_suffix(".onnx").rename(folder / "tiny.onnx")
        self.device = device
        self.tensorrt = tensorrt
        self.patch = patch
        self.other: dict[str, Any] = {}

    def write(self, **more: Any) -> None:
        """Another engine in the place of the first."""
        write_engine(self.engine, **more)

    def change(self, change: Callable[[bytes], bytes]) -> None:
        """Changes the bytes of the engine."""
        self.engine.write_bytes(change(self.engine.read_bytes()))

    def add_sidecar(self, **changes: Any) -> None:
        """Writes one that fits, but for the changes."""
        fits = {"precision": "fp32", "input_shape": (1, 3, 64, 64), "tensorrt_version": "10.3.0"}
        told = sidecar(self.engine.read_bytes(), **{**fits, "class_names": dict(NAMES), **changes})
        told.write(self.engine.with_suffix(".json"))

    def settings(self, weights: Path | None = None, /, *, require: bool = False, **more: Any) -> Settings:
        """Settings that ask for the weights, whose engine is looked for first."""
        model = ModelSettings(weights=str(weights or self.onnx), imgsz=64, names=more.pop("names", ()))
        engine = EngineSettings(dir=self.engine.parent, require=require, **self.other)
        return Settings(model=model, engine=engine, **{"allow_cpu": True, **more})


@pytest.fixture
def world(tmp_path: Path, device: Device, tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(kernels, "_build", lambda architecture: BINARY)
    tmp_path.chmod(0o755)
    return World(tmp_path, device, tensorrt, monkeypatch)


def serves(settings: Settings, export: Export | None = None) -> str:
    """The backend that serves a picture, and how many vehicles it finds in it."""
    with open_service(settings, export=export) as service:
        found = service.detect([Frame(make_image(), 0, 0.0, "test")])[0].detections
        return f"{service.info.name} {service.info.precision}: {len(found)}"


def test_an_engine_serves_before_the_weights_it_was_built_from(world: World, logged: list[str]) -> None:
    assert serves(world.settings()) == "tensorrt fp32: 2"
    info = [line for line in logged if line.startswith("INFO")]
    assert info == [
        "INFO Loading vehicle detection model: tiny.engine",
        "INFO Vehicles are bicycle, car, motorcycle, bus, truck",
        "INFO Serving with TensorRT: tensorrt fp32, input 64x64, layout raw (the first choice)",
    ]


def test_an_engine_that_was_named_serves_from_where_it_lies(world: World, logged: list[str], tmp_path: Path) -> None:
    named = world.engine.rename(tmp_path / "mine.engine")
    assert serves(world.settings(named)) == "tensorrt fp32: 2"
    assert "INFO Loading vehicle detection model: mine.engine" in logged


def test_an_engine_is_enough(world: World) -> None:
    world.onnx.unlink()
    assert serves(world.settings(require=True)) == "tensorrt fp32: 2"
    assert serves(world.settings(world.engine)) == "tensorrt fp32: 2"


def test_frames_that_the_service_lends_are_the_engines(world: World) -> None:
    with open_service(world.settings()) as service:
        assert service.lend((48, 64)) is None, "no picture of this size was seen"
        service.detect([Frame(make_image(), 0, 0.0, "test")])[0]
        frame = service.lend((48, 64))
        assert frame is not None
        frame[:] = 0
        assert len(service.detect([Frame(frame, 1, 0.0, "test")])[0].detections) == 2


def test_several_cameras_are_one_launch(world: World) -> None:
    world.write(batch=4)
    frames = [Frame(make_image(0, height, 64), height, 0.0, "test") for height in (48, 48, 90)]
    with open_service(world.settings()) as service:
        service.detect(frames)
        before = world.device.calls["cuGraphLaunch"]
        results = service.detect(frames)
        assert world.device.calls["cuGraphLaunch"] == before + 1
    assert [len(result.detections) for result in results] == [2, 2, 2]


def test_other_settings_count_from_the_next_frame_on(world: World) -> None:
    frame = Frame(make_image(), 0, 0.0, "test")
    with open_service(world.settings()) as service:
        service.apply(world.settings(classes=("person", "bus")))
        assert service.detect([frame])[0].detections.class_id.tolist() == [0, 5]
        with pytest.raises(SettingsError, match="tractor"):
            service.apply(world.settings(classes=("tractor",)))
        assert service.detect([frame])[0].detections.class_id.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("module", "place"),
    [(selection, "request_of"), (selection, "_log_choice"), (detector_service, "DetectorService")],
)
def test_a_stop_between_the_backend_and_its_service_closes_the_backend(
    world: World, module: ModuleType, place: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    world.patch.setattr(module, place, stop)
    with pytest.raises(KeyboardInterrupt):
        open_service(world.settings())
    assert world.device.contexts == 0
    assert not world.tensorrt.machine.alive


# Precisions


@pytest.mark.parametrize(
    ("precision", "other", "built"),
    [("int8", "fp16", "fp16"), ("fp16", "int8", "fp32")],
)
def test_an_engine_whose_precision_is_switched_off_is_passed_over(
    world: World, logged: list[str], precision: str, other: str, built: str
) -> None:
    world.add_sidecar(precision=precision)
    off: dict[str, Any] = {precision: False}
    assert serves(world.settings(**off)) == "onnxruntime fp32: 2"
    assert logged[0] == (
        f"INFO TensorRT passed over: {world.engine} is {precision}, which is switched off ({precision}: false); "
        f"this builds one of {built}: {REBUILD} --precision {built}"
    )
    with pytest.raises(BackendError, match=rf"is {precision}, which is switched off") as caught:
        open_service(world.settings(require=True, **off))
    assert caught.value.exit_code == 4
    assert serves(world.settings(**dict.fromkeys([other], False))) == f"tensorrt {precision}: 2"


def test_with_both_switched_off_the_command_builds_fp32(world: World, logged: list[str]) -> None:
    world.add_sidecar(precision="int8")
    serves(world.settings(int8=False, fp16=False))
    assert logged[0].endswith(f"this builds one of fp32: {REBUILD} --precision fp32")


def test_a_plan_that_does_not_say_its_precision_serves_with_a_warning(world: World, logged: list[str]) -> None:
    world.engine.write_bytes(make_plan(world.onnx))
    assert serves(world.settings(int8=False, fp16=False, names=tuple(NAMES.values()))) == "tensorrt unknown: 2"
    said = [line for line in logged if "does not say its precision" in line]
    assert said == [
        f"WARNING {world.engine} does not say its precision: int8 and fp16 of the settings cannot be checked"
    ]


# Misfits


def tampered(world: World) -> None:
    world.add_sidecar()
    world.change(lambda data: data[:-1] + b"!")


def without(*modules: str) -> Prepare:
    def prepare(world: World) -> None:
        for module in modules:
            world.patch.setitem(sys.modules, module, None)

    return prepare


def fails(call: str) -> Prepare:
    return lambda world: world.device.fail.update({call: LogicError(f"{call} failed: no CUDA-capable device")})


def lacks_a_name(world: World) -> None:
    world.patch.setattr(world.tensorrt, "IExecutionContext", type("Old", (), {}))


def not_installed(world: World) -> None:
    """As Python tells of a package that is not there."""
    found = importlib.util.find_spec
    world.patch.delitem(sys.modules, "tensorrt")
    world.patch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorrt" else found(name))


MISFITS: dict[str, tuple[Prepare, str]] = {
    "cut": (lambda world: world.change(lambda data: data[:-10]), "is truncated: it holds"),
    "cut in its header": (lambda world: world.change(lambda data: data[:9]), "is truncated: it holds 9 bytes"),
    "empty": (lambda world: world.change(lambda _: b""), "is empty"),
    "too long": (lambda world: world.change(lambda data: data + bytes(9)), "its plan ends at"),
    "a zip": (lambda world: world.change(lambda _: b"PK\3\4" + bytes(99)), "is not a TensorRT engine: it is a zip"),
    "writable by others": (lambda world: world.engine.chmod(0o646), r"may be written by others \(mode 0646\)"),
    "tampered": (tampered, "is not the file that its sidecar .* was written for"),
    "corrupted": (lambda world: world.change(lambda data: data[:-1] + b"!"), "does not load into TensorRT: "),
    "of another TensorRT": (lambda world: world.write(version="10.7.0"), "by TensorRT 10.7.0, this device has 10.3.0"),
    "of another GPU": (lambda world: world.add_sidecar(gpu_name="Thor", compute_capability="11.0"), "for the GPU Thor"),
    "of another size": (lambda world: world.add_sidecar(input_shape=(1, 3, 640, 640)), "its sidecar says 1 x 3 x 640"),
    "of unknown layout": (
        lambda world: world.write(header={"names": {"0": "person", "1": "car"}}),
        r"is of no known layout: .*\(1, 12, 32\); a detector of 2 classes gives \(batch, 6, n\)",
    ),
    "two outputs": (lambda world: world.write(told={"extra": ["masks"]}), "it has 1 inputs and 2 outputs"),
    "no vehicles": (lambda world: world.write(header={"names": {"0": "cat", "1": "dog"}}), "has no vehicle class"),
    "no tensorrt": (not_installed, "cannot run: tensorrt is not installed"),
    "a broken tensorrt": (without("tensorrt"), "tensorrt does not load|tensorrt is not installed"),
    "an old tensorrt": (lacks_a_name, r"TensorRT 10\.3\.0 lacks IExecutionContext\.set_input_shape, "),
    "no pycuda": (without("pycuda", "pycuda.driver"), "PyCUDA cannot be used: "),
    "no device": (fails("init"), "CUDA device 0 cannot be used: init failed: no CUDA-capable device"),
    "refused by the device": (
        lambda world: world.tensorrt.machine.refuse.add("execute"),
        "TensorRT refused to run .*tiny.engine: enqueueV3",
    ),
    "not the device": (
        lambda world: world.other.update(device=3),
        "CUDA device 3 cannot be used: .*invalid device ordinal",
    ),
    "no memory": (fails("mem_alloc"), "CUDA could not give .* of device memory"),
    "no memory of the host": (fails("pagelocked_zeros"), "CUDA could not give .* of page-locked memory"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_each_misfit_gets_its_sentence_once_and_the_next_backend_serves(
    world: World, logged: list[str], misfit: str
) -> None:
    prepare, said = MISFITS[misfit]
    prepare(world)
    assert serves(world.settings()) == "onnxruntime fp32: 2"
    assert len([line for line in logged if re.search(said, line)]) == 1
    passed_over = [line for line in logged if "TensorRT passed over: " in line]
    assert len(passed_over) == 1
    assert re.search(said, passed_over[0])


@pytest.mark.parametrize("misfit", MISFITS)
def test_each_misfit_ends_a_pilot_that_must_have_an_engine(world: World, misfit: str) -> None:
    prepare, said = MISFITS[misfit]
    prepare(world)
    with pytest.raises(BackendError, match=said) as caught:
        open_service(world.settings(require=True))
    assert caught.value.exit_code == 4
    assert caught.value.cure
    assert str(caught.value).count("\n") == 0


def test_an_engine_that_must_be_and_is_not_there(world: World) -> None:
    world.engine.unlink()
    with pytest.raises(BackendError, match=re.escape(f"{world.engine} does not exist")):
        open_service(world.settings(require=True))


def test_the_reasons_of_all_steps_are_in_the_last_word(world: World, logged: list[str]) -> None:
    world.change(lambda data: data[:-10])
    with pytest.raises(BackendError) as caught:
        open_service(world.settings(allow_cpu=False))
    assert "is truncated" in str(caught.value)
    assert "allow_cpu: false" in str(caught.value)


# The whole program


class Pilot:
    """Runs the pilot on an engine, in a process of its own."""

    def __init__(self, world: World) -> None:
        self._folder = world.onnx.parent
        pictures = self._folder / "pictures"
        pictures.mkdir()
        for number in range(8):
            cv2.imwrite(str(pictures / f"{number}.png"), np.full((48, 64, 3), 20 * number, np.uint8))
        (self._folder / "x.yaml").write_text(
            f"source: {{uri: 'images://{pictures}'}}\nmodel: {{weights: '{world.onnx}'}}\n"
            f"engine: {{dir: '{world.engine.parent}'}}\nlog: {{dir: '{self._folder}/logs'}}\ncpu: {{threads: 1}}\n"
        )

    def run(self, *command: str | Path) -> Done:
        """Runs a Python command."""
        line = [sys.executable, *map(str, command), "--config", "x.yaml"]
        return subprocess.run(line, cwd=self._folder, capture_output=True, text=True, timeout=100)

    def records(self) -> list[dict[str, Any]]:
        """What it wrote."""
        return [json.loads(line) for line in (self._folder / "logs" / "frames.jsonl").read_text().splitlines()]


@pytest.fixture
def pilot(world: World) -> Pilot:
    return Pilot(world)


EMULATED = ROOT / "tests" / "doubles" / "emulated_pilot.py"


def emulator_path(emulator: ctypes.CDLL) -> str:
    return str(emulator._name)


def test_the_whole_pilot_runs_on_an_engine_and_never_imports_torch(pilot: Pilot, emulator: ctypes.CDLL) -> None:
    done = pilot.run("-X", "importtime", EMULATED, emulator_path(emulator), "0", "--require-engine")
    times = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    told = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("import time:"))
    assert done.returncode == 0, told
    assert told.count("Vehicle detection: 2 vehicles in ") == 8
    assert "Loading vehicle detection model: tiny.engine\n" in told
    assert "Serving with TensorRT: tensorrt fp32, input 64x64, layout raw (the first choice)" in told
    records = pilot.records()
    assert [(record["backend"], len(record["vehicles"])) for record in records] == [("tensorrt", 2)] * 8
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in times}
    assert "numpy" in imported
    assert not imported & {"torch", "torchvision", "ultralytics", "onnx", "matplotlib"}


def test_a_gpu_that_fails_in_a_run_ends_it_with_exit_5_and_all_that_was_seen_is_written(
    pilot: Pilot, emulator: ctypes.CDLL
) -> None:
    done = pilot.run(EMULATED, emulator_path(emulator), "6", "--require-engine")
    assert done.returncode == 5, done.stderr
    assert "cuGraphLaunch gave 700" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(pilot.records()) == done.stderr.count("Vehicle detection: 2 vehicles") == 5, "one launch was the warm-up"
    assert "Latency over " in done.stderr, "every ending prints the summary"


def test_check_on_an_engine(pilot: Pilot, emulator: ctypes.CDLL) -> None:
    done = pilot.run(EMULATED, emulator_path(emulator), "0", "check", "--require-engine")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^backend +ok +tensorrt fp32, input 64x64, layout raw\. Vehicles are bicycle, car, ", done.stdout, re.MULTILINE
    )


def only_here(name: str) -> None:
    if importlib.util.find_spec(name):
        pytest.skip(f"no GPU-less machine: {name} is installed here")


def test_check_says_that_tensorrt_is_not_installed(pilot: Pilot, world: World) -> None:
    world.patch.undo()
    only_here("tensorrt")
    done = pilot.run(ROOT / "pilot.py", "check", "--require-engine")
    assert done.returncode == 4
    assert f"{world.engine} cannot run: tensorrt is not installed" in done.stdout
    done = pilot.run(ROOT / "pilot.py", "check", "--allow-cpu")
    assert done.returncode == 0
    assert re.search(r"^backend +ok +onnxruntime", done.stdout, re.MULTILINE)
    assert f"{world.engine} cannot run: tensorrt is not installed" in done.stderr


@pytest.mark.parametrize("misfit", ["cut", "a zip", "writable by others", "tampered"])
def test_check_says_what_is_wrong_with_a_file_on_any_machine(pilot: Pilot, world: World, misfit: str) -> None:
    prepare, said = MISFITS[misfit]
    prepare(world)
    done = pilot.run(ROOT / "pilot.py", "check", "--require-engine")
    assert done.returncode == 4
    line = next(line for line in done.stdout.splitlines() if line.startswith("backend"))
    assert re.search(said, line)
    assert "problem" in line
    assert "Traceback" not in done.stderr


def test_the_modules_of_the_backends_import_nothing_heavy() -> None:
    paths = (ROOT / "perception" / "backends").rglob("*.py")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    assert "perception.backends.tensorrt.backend" in names
    code = "".join(f"import {name}\n" for name in names)
    code += "import sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "torchvision", "ultralytics", "onnxruntime", "tensorrt", "pycuda", "onnx"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("step", selection.STEPS, ids=lambda step: step.name)
def test_every_step_of_the_table_names_a_function_that_is_there(step: selection.Step) -> None:
    module, _, function = step.opens.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert step.weights in ("", *WEIGHT_KINDS)


def test_a_new_runtime_joins_with_a_line_and_a_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = ModuleType("a_new_runtime")
    vars(runtime)["open_backend"] = lambda wanted: FakeBackend(make_candidates((1, 1, 9, 9, 0.9, 2)))
    monkeypatch.setitem(sys.modules, "a_new_runtime", runtime)
    line = selection.Step("Another runtime", "a_new_runtime:open_backend")
    monkeypatch.setattr(selection, "STEPS", (line, *selection.STEPS))
    assert serves(world.settings()) == "fake fp32: 1"
    assert serves(world.settings(require=True)) == "tensorrt fp32: 2"
