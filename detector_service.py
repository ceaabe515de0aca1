"""DetectorService: which backend serves, and why; a frame in, its vehicles out, with the time of each stage."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from loguru import logger

from perception.backends.gpu.cuda import has_cuda_driver
from perception.backends.models.choice import Wish
from perception.backends.models.model_files import ModelFiles, find_model
from perception.backends.session import Session
from perception.backends.session_backend import PickClasses, SessionBackend
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.identity import ForeignEngineError, precision_of
from perception.core.classes import pick, vehicle_ids
from perception.core.errors import BackendError
from perception.core.frame import BackendInfo, Candidates, Frame, Image, Result, StageTimes
from perception.core.nms import nms
from perception.settings.model import ROOT, Settings
from perception.system.trusted_file import REBUILD

WARM_UP_HW = (720, 1280)
"""Pixels of the frame of the warm-up: what a CSI camera gives unless it is asked for another size."""


class Backend(Protocol):
    """What a runtime offers the service: a context manager, used by one thread.

    `infer` gives, for each image (H, W, 3) uint8 BGR in order, its vehicle candidates above `conf` in image pixels,
    and what each stage took; `meanwhile` is called where the thread would only wait for a device, if at all; `iou` lets
    it suppress overlaps itself, and mark what is left `final`. `look_for` says which classes are vehicles from then on.
    `lend` gives a frame (height, width, 3) to decode into, which `infer` then reads without a copy, or None; it is for
    any thread, and the frame is the borrower's until nobody holds it.
    """

    @property
    def info(self) -> BackendInfo: ...

    def lend(self, hw: tuple[int, int]) -> Image | None: ...

    def infer(
        self, images: Sequence[Image], conf: float, meanwhile: Callable[[], None] | None = None,
        iou: float | None = None,
    ) -> list[tuple[Candidates, StageTimes]]: ...  # fmt: skip

    def look_for(self, class_ids: tuple[int, ...]) -> None: ...

    def __enter__(self) -> Backend: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DetectorService:
    """Detects vehicles with one backend. A context manager that closes the backend.

    conf: above it a vehicle counts; iou: above it two boxes of a class are one. clock: as frames are stamped.
    """

    def __init__(
        self,
        backend: Backend,
        conf: float,
        iou: float,
        clock: Callable[[], float] = time.monotonic,
        passed_over: Sequence[str] = (),
    ) -> None:
        """passed_over: what stands before this backend in the selection, each step with its reason."""
        self.passed_over = tuple(passed_over)
        self._backend = backend
        self._conf = conf
        self._iou = iou
        self._clock = clock
        self._before: tuple[Candidates, tuple[int, ...]] | None = None

    @property
    def info(self) -> BackendInfo:
        """What serves."""
        return self._backend.info

    def lend(self, hw: tuple[int, int]) -> Image | None:
        """A frame for a reader to decode a picture of (height, width) into, where the backend has one to lend."""
        return self._backend.lend(hw)

    def __enter__(self) -> DetectorService:
        """One inference on a synthetic frame, so that the first frame of the source is not the first one."""
        with ExitStack() as stack:
            stack.enter_context(self._backend)
            self.detect(Frame(np.full((*WARM_UP_HW, 3), 114, np.uint8), 0, self._clock(), "warm-up"))
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backend.__exit__(kind, fault, trace)

    def apply(self, settings: Settings) -> None:
        """Takes over model.conf, model.iou and classes.

        Raises SettingsError or BackendError, and stays as it was, where `classes` does not fit the model.
        """
        names, asked_for = self.info.class_names, settings.classes_asked_for
        self._backend.look_for(vehicle_ids(names, settings.classes, asked_for=asked_for))
        self._conf, self._iou = settings.model.conf, settings.model.iou

    def detect(self, frame: Frame) -> Result:
        """The vehicles of one frame, boxes clipped to it, best first."""
        return self.detect_batch((frame,))[0]

    def detect_batch(self, frames: Sequence[Frame]) -> list[Result]:
        """The vehicles of several frames, of one camera or of many, in one launch where the backend's batch allows.

        Each result tells the total time of all, which is what each frame waited, and its share of the stages.
        """
        started = self._clock()
        found = self._backend.infer([frame.image for frame in frames], self._conf, self._rehearse, self._iou)
        decoded = self._clock()
        kept = [nms(candidates, self._iou, frame.image.shape[:2]) for frame, (candidates, _) in zip(frames, found)]
        ended = self._clock()
        if found:
            self._before = found[0][0], frames[0].image.shape[:2]
        total_ms, nms_ms = (ended - started) * 1000, (ended - decoded) * 1000 / max(len(frames), 1)
        return [
            Result(detections, _with_nms(stages, nms_ms), total_ms, (ended - frame.captured_at) * 1000)
            for frame, detections, (_, stages) in zip(frames, kept, found)
        ]

    def _rehearse(self) -> None:
        """While a device works: what will follow its answer, done on the answer before.

        Code and data are then in the processor's caches, which a copy of a picture has just filled with pixels.
        """
        if self._before is not None:
            candidates, image_hw = self._before
            nms(candidates, self._iou, image_hw)


def _with_nms(stages: StageTimes, nms_ms: float) -> StageTimes:
    if stages.postprocess_ms is None:
        return stages
    return StageTimes(stages.preprocess_ms, stages.infer_ms, stages.postprocess_ms + nms_ms)


class PassedOver(Exception):
    """One step of the selection cannot serve; its text is the reason."""


def open_service(settings: Settings, alive: Callable[[str], None] = lambda _: None) -> DetectorService:
    """The service on the first backend of the selection that can serve.

    alive: told each second, in words, what it waits for, where that takes minutes. Logs a line for every step that is
    passed over and, last, the choice. Raises BackendError where no allowed backend is left, SettingsError where
    `classes` does not fit the model.
    """
    files = find_model(settings.model.weights, ROOT, settings.engine_dir)
    reasons: list[str] = []
    faults: list[BackendError] = []
    for step, open_backend in _steps(settings, files, faults, alive):
        try:
            backend = open_backend()
        except PassedOver as absent:
            if settings.engine.require:
                raise BackendError(f"An engine is required: {absent}", "Run without --require-engine.") from None
            logger.info(f"{step} passed over: {absent}")
            reasons.append(f"{step}: {absent}")
        except BackendError as fault:
            if settings.engine.require:
                raise
            logger.warning(f"{step} passed over: {fault}")
            reasons.append(f"{step}: {fault.what}")
            faults.append(fault)
        else:
            with ExitStack() as opened:
                opened.push(backend)  # closed where a stop comes before the service has it
                _log_choice(backend.info, step, reasons, settings)
                service = DetectorService(backend, settings.model.conf, settings.model.iou, passed_over=reasons)
                opened.pop_all()
            return service
    cure = "Allow the CPU with --allow-cpu, or bring what the steps above lack."
    if settings.allow_cpu:
        cure = faults[-1].cure if faults else ""
    raise BackendError(f"No backend can serve {settings.model.weights} ({'; '.join(reasons)})", cure)


def _log_choice(info: BackendInfo, step: str, reasons: Sequence[str], settings: Settings) -> None:
    if info.class_names:
        logger.info(pick(info.class_names, settings.classes).words(info.class_names))
    because = "the first choice" if not reasons else f"{len(reasons)} passed over, see above"
    logger.info(f"Serving with {step}: {info} ({because})")


def _steps(
    settings: Settings, files: ModelFiles, faults: Sequence[BackendError], alive: Callable[[str], None]
) -> Iterator[tuple[str, Callable[[], Backend]]]:
    """The order of preference: each step with its name and what opens it, or raises PassedOver.

    faults: those of the steps so far.
    """
    yield "TensorRT", lambda: _open_engine(settings, files)
    if settings.engine.require:
        return
    if settings.engine.when_missing == "export":
        foreign = any(isinstance(fault, ForeignEngineError) for fault in faults)
        yield "TensorRT after an export", lambda: _export_engine(settings, files, foreign, alive)
    yield "PyTorch on CUDA", lambda: _open_pytorch(settings, files.pt, "cuda:0")
    for path in files.weights:
        if path == files.onnx:
            yield "ONNX Runtime on the CPU", lambda: _open_onnx(settings, files.onnx)
        else:
            yield "PyTorch on the CPU", lambda: _open_pytorch(settings, files.pt, "cpu")


def _open_engine(settings: Settings, files: ModelFiles) -> Backend:
    if files.engine is None:
        raise PassedOver(f"{settings.engine_dir / files.stem}.engine does not exist")
    engine = open_engine(files.engine)
    precision = precision_of(engine)
    if (precision == "int8" and not settings.int8) or (precision == "fp16" and not settings.fp16):
        allowed = "fp16" if settings.fp16 else "fp32"
        raise PassedOver(
            f"{files.engine} is {precision}, which is switched off ({precision}: false); "
            f"this builds one of {allowed}: {REBUILD} --precision {allowed}"
        )
    if precision == "unknown":
        logger.warning(f"{files.engine} does not say its precision: int8 and fp16 of the settings cannot be checked")
    if importlib.util.find_spec("tensorrt") is None:
        raise PassedOver(f"{files.engine} cannot run: tensorrt is not installed")
    from perception.backends.tensorrt.backend import open_engine_backend

    _log_loading(files.engine)
    picker, model, how = _class_picker(settings), settings.model, settings.engine
    return open_engine_backend(
        engine, picker, model.names, model.imgsz, settings.engine_dir, how.device, how.wait, model.layout
    )


def _export_engine(settings: Settings, files: ModelFiles, foreign: bool, alive: Callable[[str], None]) -> Backend:
    """Builds an FP16 engine where there is none, or one that is `foreign` to this machine, and opens it."""
    if files.engine is not None and not foreign:
        raise PassedOver(f"{files.engine} is there, and is not replaced without being asked to")
    if not files.weights:
        raise PassedOver("there are no weights to export")
    if not settings.fp16:
        raise PassedOver("fp16 is switched off, and nothing else is built at a start")
    if importlib.util.find_spec("tensorrt") is None:
        raise PassedOver("tensorrt is not installed")
    if not has_cuda_driver():
        raise PassedOver("this machine has no CUDA driver")
    from perception.app.export_at_start import Order, export_at_start
    from perception.backends.tensorrt.place import Place

    logger.info("Exporting model to TensorRT...")
    place = Place(settings.engine_dir, files.stem)
    export_at_start(
        Order(files.weights[0], place, settings.model.imgsz, settings.engine.device, settings.model.layout), alive
    )
    return _open_engine(settings, find_model(settings.model.weights, ROOT, settings.engine_dir))


def _open_pytorch(settings: Settings, path: Path | None, device: str) -> Backend:
    from perception.backends import pytorch

    if device == "cpu" and not settings.allow_cpu:
        raise PassedOver("the CPU is not allowed (allow_cpu: false)")
    if path is None:
        raise PassedOver("there are no .pt weights")
    if device != "cpu" and not has_cuda_driver():
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
    wish = Wish(settings.model.layout, settings.engine_dir)
    return SessionBackend(session, _class_picker(settings), settings.model.names, wish)


def _class_picker(settings: Settings) -> PickClasses:
    def pick_classes(names: Mapping[int, str]) -> tuple[int, ...]:
        return vehicle_ids(names, settings.classes, asked_for=settings.classes_asked_for)

    return pick_classes
