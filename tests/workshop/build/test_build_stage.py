"""The stage: from a request in JSON to an engine that the pilot's own run time loads, and ultralytics' reader reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from perception.backends.gpu.cuda import Gpu
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.identity import class_names, precision_of
from perception.backends.tensorrt.runtime import Engine
from perception.core.errors import SettingsError
from perception.system.trusted_file import sha256_of
from perception.workshop.build import build_stage, engine_writing
from perception.workshop.build.request import from_json
from perception.workshop.quantize.half import write_half
from perception.workshop.stage import run_stage
from tests.workshop.build import small_network
from tests.workshop.build.fake_builder import Generation, Workbench
from tests.workshop.conftest import Event, said

FAKE = "tests.workshop.build.fake_stage"


@pytest.fixture
def asked(onnx: Path, images: list[Path], tmp_path: Path) -> dict[str, Any]:
    """An INT8 build, as JSON."""
    return {
        "onnx": str(onnx), "engine": str(tmp_path / "out" / "small.engine"), "precision": "int8", "imgsz": 64,
        "images": [str(path) for path in images], "weights_sha256": "d" * 64, "optimization_level": None,
    }  # fmt: skip


def test_an_int8_engine_is_loaded_by_the_run_time(
    bench: Workbench, asked: dict[str, Any], events: list[Event], logged: list[str]
) -> None:
    result = build_stage.run(asked, events.append)
    assert json.loads(json.dumps(result)) == result
    file = open_engine(Path(result["engine"]))
    assert file.sidecar is not None
    assert not file.warnings
    assert (precision_of(file), class_names(file, ())) == ("int8", small_network.NAMES)
    assert file.sidecar.weights_sha256 == "d" * 64
    assert file.sidecar.calibration is not None
    assert file.sidecar.calibration.images == 7
    assert file.sidecar.calibration.algorithm == "entropy"
    assert file.sidecar.accuracy is None
    assert (file.sidecar.builder["protected"], file.sidecar.builder["float_outputs"]) == (3, 1)
    assert file.sidecar.input_shape == (1, 3, 64, 64)
    with Gpu() as gpu:
        engine = Engine(file, gpu, None)
        engine.try_out()
        assert engine.input_hw == (64, 64)
        engine.close()
    assert not [line for line in logged if line.startswith("WARNING")], "its identity holds"
    assert "100% of its convolutions in INT8" in said(events)


def test_an_open_engine_says_so_and_has_a_context_for_each_batch(
    bench: Workbench, tensorrt: ModuleType, asked: dict[str, Any], events: list[Event], tmp_path: Path,
    logged: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tensorrt, "__version__", "8.6.0")
    tensorrt.machine.version = "8.6.0"
    onnx = small_network.build(tmp_path / "open.onnx", batch=None)
    result = build_stage.run(asked | {"onnx": str(onnx), "batch": 4, "precision": "fp16"}, events.append)
    file = open_engine(Path(result["engine"]))
    assert file.sidecar is not None
    assert file.sidecar.input_shape == (-1, 3, 64, 64)
    assert file.sidecar.calibration is None
    assert file.metadata["args"] | {"half": True, "int8": False, "dynamic": True, "batch": 4} == file.metadata["args"]
    with Gpu() as gpu:
        engine = Engine(file, gpu, None)
        assert engine.batch == 4
        for images in (1, 4, 3):
            engine.set_batch(images)
        assert tensorrt.machine.alive.count("context") == 3
        engine.close()
    assert not [line for line in logged if line.startswith("WARNING")]


@pytest.mark.needs("torch")
def test_the_header_is_the_one_that_ultralytics_reads(
    bench: Workbench, asked: dict[str, Any], events: list[Event]
) -> None:
    from ultralytics.nn.backends.base import BaseBackend

    result = build_stage.run(asked, events.append)
    offset, metadata = BaseBackend.engine_header(result["engine"])
    assert Path(result["engine"]).read_bytes()[offset:].startswith(b"ftrt")
    assert metadata["names"] == {"0": "person", "1": "car"}
    assert (metadata["task"], metadata["stride"], metadata["imgsz"], metadata["batch"]) == ("detect", 8, [64, 64], 1)
    needed = {"description", "author", "date", "version", "license", "docs", "args", "channels", "end2end"}
    assert needed <= set(metadata)


def test_another_list_of_images_is_calibrated_anew(
    bench: Workbench, asked: dict[str, Any], images: list[Path], events: list[Event]
) -> None:
    build_stage.run(asked, events.append)
    assert build_stage.run(asked, events.append)["facts"]["calibration"]["cache_was_read"]
    images[0].write_bytes(images[1].read_bytes())
    assert not build_stage.run(asked, events.append)["facts"]["calibration"]["cache_was_read"]


def test_a_quantized_model_tells_what_it_was_calibrated_on(
    bench: Workbench, asked: dict[str, Any], events: list[Event], tmp_path: Path
) -> None:
    onnx = small_network.build(tmp_path / "qdq.onnx", quantized=True)
    told = {"images": 355, "manifest_sha256": "e" * 64, "algorithm": "percentile"}
    result = build_stage.run(asked | {"onnx": str(onnx), "images": None, "calibrated": told}, events.append)
    file = open_engine(Path(result["engine"]))
    assert file.sidecar is not None
    assert file.sidecar.calibration is not None
    assert (file.sidecar.calibration.images, file.sidecar.calibration.algorithm) == (355, "percentile")


def test_tensorrt_11_gets_a_model_in_float16(
    bench_of: Callable[[Generation], Workbench], asked: dict[str, Any], events: list[Event], onnx: Path
) -> None:
    bench_of("11")
    result = build_stage.run(asked | {"precision": "fp16"}, events.append)
    file = open_engine(Path(result["engine"]))
    assert file.sidecar is not None
    assert (precision_of(file), file.sidecar.builder["method"]) == ("fp16", "typed")
    assert file.sidecar.onnx_sha256 == sha256_of(onnx), "the model that was given"
    with Gpu() as gpu:
        engine = Engine(file, gpu, None)
        assert engine.input.dtype == np.float32
        engine.try_out()
        engine.close()


def test_a_model_in_float16_finds_the_same(onnx: Path, tmp_path: Path) -> None:
    import onnxruntime

    picture = np.random.default_rng(8).random((1, 3, 64, 64), np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    found = [
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(
            None, {"images": picture}
        )[0]
        for path in (onnx, write_half(onnx, tmp_path / "half.onnx"))
    ]
    assert found[1].dtype == np.float32
    np.testing.assert_allclose(found[0], found[1], rtol=0.01)
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"onnx": "/nowhere/a.onnx"}, "/nowhere/a.onnx does not exist"),
        ({"images": None}, "needs images to calibrate on"),
        ({"images": ["/nowhere/a.png"]}, "/nowhere/a.png does not exist"),
        ({"colour": "red"}, "has no 'colour'"),
        ({"engine": 3}, "engine is 3"),
        ({"images": "all"}, "images is 'all'"),
    ],
)
def test_a_request_of_no_use_is_refused(
    bench: Workbench, asked: dict[str, Any], events: list[Event], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        build_stage.run({**asked, **change}, events.append)


def test_a_file_that_is_no_model_is_refused(
    bench: Workbench, asked: dict[str, Any], events: list[Event], tmp_path: Path
) -> None:
    (tmp_path / "b.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(SettingsError, match="is no ONNX model"):
        build_stage.run(asked | {"onnx": str(tmp_path / "b.onnx")}, events.append)
    with pytest.raises(SettingsError, match="A build needs 'engine'"):
        from_json({"onnx": "a.onnx"})


def test_the_stage_builds_in_a_process_of_its_own(asked: dict[str, Any], events: list[Event]) -> None:
    result = run_stage(FAKE, asked, events.append)
    file = open_engine(Path(result["engine"]))
    assert file.sidecar is not None
    assert file.sidecar.precision == "int8"
    assert {"event": "progress", "what": "calibration", "done": 7, "of": 7} in events
    assert [event["name"] for event in events if event["event"] == "stage"][-1] == "inspecting"


def test_a_fault_of_the_stage_reaches_the_parent(asked: dict[str, Any], events: list[Event]) -> None:
    with pytest.raises(SettingsError, match="fixed batch of 1"):
        run_stage(FAKE, asked | {"batch": 3}, events.append)


def test_a_process_ends_at_once_with_its_fault(tmp_path: Path) -> None:
    """In a process of its own, which os._exit leaves."""
    code = f"""
import sys
from collections.abc import Callable
from pathlib import Path
from perception.core.errors import SettingsError
from perception.workshop.build.build_stage import end_at_once
end = end_at_once(Path({str(tmp_path / "result.json")!r}))
end(KeyboardInterrupt())
print("said", flush=True)
end(SettingsError('a.png cannot be read any more', 'Leave it.'))
print("never", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert done.stdout == "said\n"
    assert (done.returncode, result["error"]["exit_code"], result["error"]["cure"]) == (3, 2, "Leave it.")


def test_a_header_of_odd_metadata_is_still_one(tensorrt: ModuleType) -> None:
    told = {"names": "{0: 'car'", "stride": "?", "imgsz": "[32, 32]", "args": "3", "extra": "text"}
    header = engine_writing.metadata(told, precision="fp32", batch=2, input_hw=(64, 96), dynamic=False)
    assert engine_writing.class_names(header) == {}
    assert (header["imgsz"], header["batch"], header["extra"]) == ([64, 96], 2, "text")
    assert header["args"] == {
        "batch": 2, "dynamic": False, "nms": False, "half": False, "int8": False, "quantize": 32
    }  # fmt: skip
    plan = np.arange(40, dtype=np.uint8).tobytes()
    data = engine_writing.wrap(plan, header)
    length = int.from_bytes(data[:4], "little")
    assert json.loads(data[4 : 4 + length]) == header
    assert data[4 + length :] == plan
