"""DetectorService: which backend serves, and why; a frame in, its vehicles out, with the time of each stage."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from loguru import logger

from perception.adapter import SessionBackend
from perception.backends.session import Session
from perception.classes import vehicle_ids
from perception.config import ROOT, Settings
from perception.errors import BackendError
from perception.frame import BackendInfo, Candidates, Frame, Image, Result, StageTimes
from perception.model_files import ModelFiles, find_model
from perception.postprocess import nms


class Backend(Protocol):
    """What a runtime offers the service: a context manager, used by one thread.

    `infer` gives, for each image (H, W, 3) uint8 BGR in order, its vehicle candidates above `conf` in image pixels,
    and what each stage took.
    """

    @property
    def info(self) -> BackendInfo: ...

    def infer(self, images: Sequence[Image], conf: float) -> list[tuple[Candidates, StageTimes]]: ...

    def __enter__(self) -> Backend: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DetectorService:
    """Detects vehicles with one backend. A context manager that closes the backend.

    conf: confidence above which a vehicle counts; iou: overlap above which two boxes of a class are one. clock:
    monotonic seconds, the one frames are stamped with.
    """

    def __init__(self, backend: Backend, conf: float, iou: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._conf = conf
        self._iou = iou
        self._clock = clock

    @property
    def info(self) -> BackendInfo:
        """What serves."""
        return self._backend.info

    def __enter__(self) -> DetectorService:
        self._backend.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backend.__exit__(kind, fault, trace)

    def detect(self, frame: Frame) -> Result:
        """The vehicles of one frame, boxes clipped to it, best first."""
        started = self._clock()
        candidates, stages = self._backend.infer([frame.image], self._conf)[0]
        decoded = self._clock()
        detections = nms(candidates, self._iou, (frame.image.shape[0], frame.image.shape[1]))
        ended = self._clock()
        if stages.postprocess_ms is not None:
            post_ms = stages.postprocess_ms + (ended - decoded) * 1000
            stages = StageTimes(stages.preprocess_ms, stages.infer_ms, post_ms)
        return Result(detections, stages, (ended - started) * 1000, (ended - frame.captured_at) * 1000)


class PassedOver(Exception):
    """One step of the selection cannot serve; its text is the reason."""


def open_service(settings: Settings) -> DetectorService:
    """The service on the first backend of the selection that can serve.

    Logs a line for every step that is passed over and, last, the choice. Raises BackendError where no allowed backend
    is left, SettingsError where `classes` does not fit the model.
    """
    files = find_model(settings.model.weights, ROOT, settings.engine_dir)
    reasons = []
    for step, open_backend in _steps(settings, files):
        try:
            backend = open_backend()
        except (PassedOver, BackendError) as fault:
            reason = fault.what if isinstance(fault, BackendError) else str(fault)
            logger.info(f"{step} passed over: {reason}")
            reasons.append(f"{step}: {reason}")
            continue
        _log_choice(backend.info, step, reasons)
        return DetectorService(backend, settings.model.conf, settings.model.iou)
    if settings.engine.require:
        raise BackendError(
            f"An engine is required and none can serve ({'; '.join(reasons)})",
            "Run without --require-engine to fall back.",
        )
    cure = "" if settings.allow_cpu else "Allow the CPU with --allow-cpu, or bring what the steps above lack."
    raise BackendError(f"No backend can serve {settings.model.weights} ({'; '.join(reasons)})", cure)


def _log_choice(info: BackendInfo, step: str, reasons: Sequence[str]) -> None:
    size = f"{info.input_hw[1]}x{info.input_hw[0]}"
    because = "the first choice" if not reasons else f"{len(reasons)} passed over, see above"
    logger.info(f"Serving with {step}: {info.name} {info.precision}, input {size} ({because})")


def _steps(settings: Settings, files: ModelFiles) -> Iterator[tuple[str, Callable[[], Backend]]]:
    """The order of preference: each step with its name and what opens it, or raises PassedOver."""
    yield "TensorRT", lambda: _open_engine(settings, files)
    if settings.engine.require:
        return
    yield "PyTorch on CUDA", lambda: _open_pytorch(settings, files.pt, "cuda:0")
    for path in files.weights:
        if path == files.onnx:
            yield "ONNX Runtime on the CPU", lambda: _open_onnx(settings, files.onnx)
        else:
            yield "PyTorch on the CPU", lambda: _open_pytorch(settings, files.pt, "cpu")


def _open_engine(settings: Settings, files: ModelFiles) -> Backend:
    if files.engine is None:
        raise PassedOver(f"{settings.engine_dir / files.stem}.engine does not exist")
    precision = _sidecar_precision(files.engine)
    if (precision == "int8" and not settings.int8) or (precision == "fp16" and not settings.fp16):
        raise PassedOver(f"{files.engine} is {precision}, which is switched off ({precision}: false)")
    if importlib.util.find_spec("tensorrt") is None:
        raise PassedOver(f"{files.engine} cannot run: tensorrt is not installed")
    raise PassedOver(f"{files.engine} cannot run: this version of the pilot has no TensorRT run time")


def _sidecar_precision(engine: Path) -> str | None:
    """The precision that the engine's sidecar names; None for a bare plan, or a sidecar that cannot be read."""
    try:
        sidecar = json.loads(engine.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(sidecar.get("precision")) if isinstance(sidecar, dict) else None


def _open_pytorch(settings: Settings, path: Path | None, device: str) -> Backend:
    from perception.backends import pytorch

    if device == "cpu" and not settings.allow_cpu:
        raise PassedOver("the CPU is not allowed (allow_cpu: false)")
    if path is None:
        raise PassedOver("there are no .pt weights")
    if device != "cpu" and not _has_cuda_driver():
        raise PassedOver("this machine has no CUDA driver")
    if reason := pytorch.why_not_importable():
        raise PassedOver(reason)
    _log_loading(path)
    return _adapt(settings, pytorch.PyTorchSession(path, settings.model.imgsz, settings.cpu.threads, device))


def _open_onnx(settings: Settings, path: Path | None) -> Backend:
    from perception.backends import onnxruntime

    if not settings.allow_cpu:
        raise PassedOver("the CPU is not allowed (allow_cpu: false)")
    if path is None:
        raise PassedOver("there is no .onnx model")
    _log_loading(path)
    return _adapt(settings, onnxruntime.OnnxRuntimeSession(path, settings.model.imgsz, settings.cpu.threads))


def _log_loading(path: Path) -> None:
    logger.info(f"Loading vehicle detection model: {path.name}")


def _adapt(settings: Settings, session: Session) -> Backend:
    def pick_classes(names: Mapping[int, str]) -> tuple[int, ...]:
        return vehicle_ids(names, settings.classes, asked_for=settings.classes_asked_for)

    return SessionBackend(session, pick_classes, settings.model.names)


def _has_cuda_driver() -> bool:
    """Whether a CUDA driver can be loaded: known without importing torch, which takes seconds."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
