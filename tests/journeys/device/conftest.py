"""Tests on a real NVIDIA GPU with a real TensorRT. Elsewhere each is skipped, and says what is missing.

PILOT_PLANS names a folder of plans of yolov8n (640x640) built on this GPU: yolov8n_fp16.plan, and where they are there
yolov8n_dynamic.plan (batch 1 to 4, float16 tensors) and yolov8n_vc.plan (VERSION_COMPATIBLE). PILOT_DATA names clips
and weights.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from detector_service import DetectorService
from perception.backends.base import request_of
from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.session_backend import SessionBackend
from perception.core.errors import BackendError
from perception.lab.benchmark.engine.commands import model_names
from perception.settings.model import EngineSettings, ModelSettings, Settings

MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="session")
def plans() -> Path:
    """The folder of plans. Skips where there is no GPU to run them on."""
    from perception.backends.gpu.cuda import Gpu

    for package in ("tensorrt", "pycuda"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no GPU: {package} is not installed here")
    try:
        Gpu().close()
    except BackendError as fault:
        pytest.skip(f"no GPU: {fault}")
    if "PILOT_PLANS" not in os.environ:
        pytest.skip("no GPU plans: PILOT_PLANS is not set")
    return Path(os.environ["PILOT_PLANS"])


@pytest.fixture(scope="session")
def onnx(data: Path) -> Path:
    return data / "weights" / "yolov8n.onnx"


@pytest.fixture(scope="session")
def names(onnx: Path) -> tuple[str, ...]:
    return tuple(model_names(onnx))


@pytest.fixture
def engine(plans: Path, tmp_path: Path) -> Path:
    """A copy of the plan that every host has, as an engine file of this user."""
    return copy_of(plans / os.environ.get("PILOT_PLAN", "yolov8n_fp16.plan"), tmp_path)


def copy_of(plan: Path, folder: Path) -> Path:
    """The plan, and its sidecar where it has one, under the name of an engine."""
    if not plan.exists():
        pytest.skip(f"no GPU plan {plan.name}")
    target = folder / f"{plan.stem}.engine"
    shutil.copyfile(plan, target)
    target.chmod(0o644)
    if plan.with_suffix(".json").exists():
        shutil.copyfile(plan.with_suffix(".json"), target.with_suffix(".json"))
    return target


@pytest.fixture
def settings_for(names: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> MakeSettings:
    """Settings that run one engine or nothing; built kernels are kept from test to test."""
    kernels = tmp_path_factory.getbasetemp() / "kernels"

    def make(engine: Path) -> Settings:
        model = ModelSettings(weights=str(engine), names=names)
        return Settings(model=model, engine=EngineSettings(dir=kernels, require=True))

    return make


@pytest.fixture(scope="session")
def reference(onnx: Path) -> Iterator[DetectorService]:
    """ONNX Runtime on the CPU: what every other backend must agree with."""
    session = OnnxRuntimeSession(onnx, 640, 0)
    backend = SessionBackend(session)
    with ExitStack() as stack:
        yield stack.enter_context(DetectorService(backend, request_of(Settings(), backend.info.class_names)))
