"""Opens a TensorRT engine file as a Backend: on the GPU from picture to candidates, or with the CPU at both ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from loguru import logger

from perception.adapter import PickClasses, SessionBackend
from perception.backends import kernels
from perception.backends.cuda import Gpu
from perception.backends.engine_file import EngineFile
from perception.backends.gpu_pipeline import GpuPipeline
from perception.backends.identity import class_names
from perception.backends.tensorrt import Engine
from perception.backends.tensorrt_session import TensorRtSession
from perception.errors import BackendError


def open_engine_backend(
    file: EngineFile,
    pick_classes: PickClasses,
    names: Sequence[str],
    imgsz: int,
    kernel_dir: Path,
    device: int = 0,
    wait: str = "auto",
) -> GpuPipeline | SessionBackend:
    """A checked engine file, deserialised and ready.

    names: the model's classes where neither sidecar nor header names them. imgsz: side of the input where the engine
    leaves it open. kernel_dir: where built kernels are kept. device, wait: see Gpu. Raises BackendError
    where it cannot serve, GpuError where the GPU fails at it; nothing of the GPU is held then.
    """
    by_id = class_names(file, names)
    if sorted(by_id) != list(range(len(by_id))):
        raise BackendError(
            f"{file.path} numbers its {len(by_id)} classes {min(by_id)} to {max(by_id)}, not from 0 on without gaps",
            "Export it again.",
        )
    class_ids = pick_classes(by_id)
    with ExitStack() as opened:
        gpu = Gpu(device, wait)
        opened.callback(gpu.close)
        engine = Engine(file, gpu, imgsz)
        opened.callback(engine.close)
        engine.try_out()
        backend = _open(engine, pick_classes, by_id, class_ids, kernel_dir)
        opened.pop_all()
    return backend


def _open(
    engine: Engine, pick_classes: PickClasses, by_id: Mapping[int, str], class_ids: tuple[int, ...], kernel_dir: Path
) -> GpuPipeline | SessionBackend:
    try:
        module = kernels.load_module(engine.gpu, kernel_dir)
    except kernels.KernelsUnavailable as reason:
        logger.warning(f"Preprocess and decode run on the CPU, which costs milliseconds a frame: {reason}")
        return SessionBackend(TensorRtSession(engine, by_id), pick_classes)
    return GpuPipeline(engine, module, by_id, class_ids)
