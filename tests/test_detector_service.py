"""The backend that serves, with the reason; and what the service makes of its candidates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector_service import DetectorService, open_service
from perception.backends import pytorch
from perception.backends.base import Request, Wanted
from perception.core.errors import BackendError, SettingsError
from perception.core.frame import Frame
from perception.core.results import StageTimes
from perception.settings.model import EngineSettings, ModelSettings, Settings
from perception.system.home import ROOT
from tests.doubles import tiny_model
from tests.doubles.fakes import REQUEST, FakeBackend, FakeClock, make_candidates, make_image


def settings(weights: Path, **more: Any) -> Settings:
    engines = EngineSettings(dir=weights.parent / "engines", require=more.pop("require", False))
    return Settings(
        model=ModelSettings(weights=str(weights), imgsz=64),
        engine=engines,
        allow_cpu=more.pop("allow_cpu", True),
        **more,
    )


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return tiny_model.build(tmp_path / "tiny.onnx")


def test_the_cpu_serves_where_it_is_allowed_and_each_step_before_it_gives_its_reason(
    onnx: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytorch, "has_cuda_driver", lambda: False)
    with open_service(settings(onnx)) as service:
        assert service.info.name == "onnxruntime"
    assert logged == [
        f"INFO TensorRT passed over: {onnx.parent}/engines/tiny.engine does not exist",
        "INFO PyTorch on CUDA passed over: there are no .pt weights",
        "INFO Loading vehicle detection model: tiny.onnx",
        "INFO Vehicles are bicycle, car, motorcycle, bus, truck",
        "INFO Serving with ONNX Runtime on the CPU: onnxruntime fp32, input 64x64, layout raw "
        "(2 passed over, see above)",
    ]


def test_without_the_cpu_nothing_is_left_and_every_reason_is_named(onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "has_cuda_driver", lambda: False)
    with pytest.raises(BackendError) as caught:
        open_service(settings(onnx, allow_cpu=False))
    text = str(caught.value)
    assert "tiny.engine does not exist" in text
    assert "there are no .pt weights" in text
    assert "allow_cpu: false" in text
    assert "--allow-cpu" in text


def test_the_onnx_serves_where_only_it_is_there_for_a_pt(onnx: Path) -> None:
    with open_service(settings(onnx.with_suffix(".pt"))) as service:
        assert service.info.name == "onnxruntime"


@pytest.mark.needs("torch")
def test_the_pt_serves_where_only_it_is_there_for_an_onnx(data: Path, tmp_path: Path) -> None:
    (tmp_path / "yolov8n.pt").symlink_to(data / "weights" / "yolov8n.pt")
    with open_service(settings(tmp_path / "yolov8n.onnx")) as service:
        assert service.info.name == "pytorch"
        assert service.info.class_names[7] == "truck"


def test_the_file_that_was_named_serves_before_its_sibling(onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = onnx.with_suffix(".pt")
    weights.write_bytes(b"PK\x03\x04" + bytes(60))
    opened = []

    def open_on_cpu(wanted: Wanted) -> FakeBackend:
        opened.append(wanted.files.pt)
        return FakeBackend()

    monkeypatch.setattr(pytorch, "open_on_cpu", open_on_cpu)
    assert open_service(settings(weights)).info.name == "fake"
    assert opened == [weights]
    assert open_service(settings(onnx)).info.name == "onnxruntime"


def test_a_broken_model_is_passed_over_for_its_sibling(
    onnx: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = onnx.with_suffix(".pt")
    weights.write_bytes(b"PK\x03\x04" + bytes(60))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with open_service(settings(weights)) as service:
        assert service.info.name == "onnxruntime"
    assert "INFO PyTorch on the CPU passed over: torch and ultralytics not installed" in logged


def test_other_vehicle_names_work_through_the_classes_key(tmp_path: Path) -> None:
    path = tiny_model.build(tmp_path / "tiny.onnx", names={0: "van", 1: "tram"}, boxes=((8, 8, 40, 40, 0.9, 1),))
    with pytest.raises(BackendError, match="no vehicle class"):
        open_service(settings(path))
    with open_service(settings(path, classes=("tram",))) as service:
        found = service.detect([Frame(make_image(), 0, 0.0, "test")])[0].detections
        assert [service.info.class_names[number] for number in found.class_id.tolist()] == ["tram"]


def test_a_class_that_was_asked_for_and_is_not_in_the_model_is_a_fault_of_the_settings(onnx: Path) -> None:
    with pytest.raises(SettingsError, match="classes: the model has no class 'tractor'"):
        open_service(settings(onnx, classes=("car", "tractor")))


def test_detect_suppresses_clips_and_times() -> None:
    clock = FakeClock()
    backend = FakeBackend(make_candidates((-5, 10, 30, 40, 0.9, 2), (-4, 10, 30, 40, 0.8, 2), (1, 1, 9, 9, 0.1, 1)))
    service = DetectorService(backend, REQUEST, clock)
    clock.now = 1000.5
    result = service.detect([Frame(make_image(), 3, 1000.0, "test")])[0]
    np.testing.assert_array_equal(result.detections.xyxy, [[0, 10, 30, 40]])
    assert result.age_ms == 500
    assert result.total_ms == 0
    assert result.stages == StageTimes(1.0, 2.0, 3.0)


def test_a_backend_is_told_the_thresholds_that_hold() -> None:
    backend = FakeBackend()
    service = DetectorService(backend, REQUEST)
    service.detect([Frame(make_image(), 0, 0.0, "test")])
    assert backend.request == REQUEST
    service.apply(Settings(model=ModelSettings(conf=0.375, iou=0.5)))
    service.detect([Frame(make_image(), 1, 0.0, "test")])
    assert backend.request == Request(0.375, 0.5, (1, 2))


def test_frames_of_one_launch_share_its_stages_and_wait_for_all_of_it() -> None:
    boxes = make_candidates((5, 10, 30, 40, 0.9, 2), (6, 10, 30, 40, 0.8, 2), (50, 50, 60, 60, 0.7, 1))
    service = DetectorService(FakeBackend(boxes), REQUEST)
    frames = [Frame(make_image(0, *size), 0, 0.0, "test") for size in ((64, 64), (32, 48))]
    one, other = service.detect(frames)
    np.testing.assert_array_equal(one.detections.xyxy, [[5, 10, 30, 40], [50, 50, 60, 60]])
    np.testing.assert_array_equal(other.detections.xyxy, [[5, 10, 30, 32], [48, 32, 48, 32]])
    assert one.total_ms == other.total_ms
    assert service.detect([]) == []


def test_the_service_closes_its_backend_after_a_fault() -> None:
    backend = FakeBackend()
    with pytest.raises(RuntimeError, match="boom"), DetectorService(backend, REQUEST):
        raise RuntimeError("boom")
    assert backend.closed


def test_a_run_on_onnx_runtime_imports_nothing_that_it_does_not_need(onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    import cv2

    cv2.imwrite(str(tmp_path / "pictures" / "one.png"), make_image(9))
    settings_file = tmp_path / "settings.yaml"
    settings_file.write_text(f"log: {{dir: {tmp_path}}}\n")
    command: list[str | Path] = [
        sys.executable,
        "-X",
        "importtime",
        ROOT / "pilot.py",
        "--config",
        settings_file,
        "--allow-cpu",
    ]
    done = subprocess.run(
        [*command, "--model", onnx, "--source", tmp_path / "pictures"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Vehicle detection: 2 vehicles in " in done.stderr
    times = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in times}
    assert "onnxruntime" in imported
    top = {name.partition(".")[0] for name in imported}
    assert not top & {"torch", "torchvision", "ultralytics", "tensorrt", "pycuda", "rich", "onnx", "matplotlib"}
    unneeded = ("perception.workshop", "perception.reporting.recording", "perception.backends.pytorch.")
    assert not [name for name in imported if name.startswith(unneeded)]
