"""Opens a TensorRT engine file as a Backend: on the GPU from picture to candidates, or with the CPU at both ends."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from loguru import logger

from perception.backends.gpu import kernels
from perception.backends.gpu.cuda import Gpu
from perception.backends.gpu.pipeline import GpuPipeline
from perception.backends.models.choice import Candidate, Wish, choose
from perception.backends.models.model_facts import Facts, facts_of
from perception.backends.session_backend import SessionBackend
from perception.backends.tensorrt.engine_file import EngineFile
from perception.backends.tensorrt.identity import class_names
from perception.backends.tensorrt.runtime import Engine
from perception.backends.tensorrt.session import TensorRtSession
from perception.core.layouts import Head


def open_engine_backend(
    file: EngineFile,
    names: Sequence[str],
    imgsz: int | None,
    kernel_dir: Path,
    device: int = 0,
    wait: str = "auto",
    layout: str | None = None,
) -> GpuPipeline | SessionBackend:
    """A checked engine file, deserialised and ready.

    names: the model's classes where neither sidecar nor header names them. imgsz: side of the input where the engine
    leaves it open, None for what it was built for. kernel_dir: where built kernels are kept, and what probes showed.
    device, wait: see Gpu. layout: of the output, None where it is to be found. Raises BackendError where it cannot
    serve, GpuError where the GPU fails at it; nothing of the GPU is held then.
    """
    by_id = Facts(class_names(file, names)).class_names(names, file.path)
    with ExitStack() as opened:
        gpu = Gpu(device, wait)
        opened.callback(gpu.close)
        engine = Engine(file, gpu, imgsz)
        opened.callback(engine.close)
        head = _head(file, engine, by_id, Wish(layout, kernel_dir))
        backend = _open(engine, head, by_id, kernel_dir)
        opened.pop_all()
    return backend


def _head(file: EngineFile, engine: Engine, by_id: Mapping[int, str], wish: Wish) -> Head:
    told = file.sidecar.layout if file.sidecar else None
    if wish.layout and told and wish.layout != told:
        logger.warning(f"model.layout is {wish.layout}, and the sidecar of {file.path} says {told}: the former counts")
    candidate = Candidate(
        file.path, facts_of(file.metadata), by_id, engine.input_hw, engine.try_out,
        lambda: hashlib.sha256(file.plan).hexdigest(),
    )  # fmt: skip
    return choose(candidate, replace(wish, layout=wish.layout or told))


def _open(engine: Engine, head: Head, by_id: Mapping[int, str], kernel_dir: Path) -> GpuPipeline | SessionBackend:
    why = f"the kernels do not decode {head.layout.name}"
    if head.layout.on_gpu:
        try:
            module = kernels.load_module(engine.gpu, kernel_dir)
            return GpuPipeline(engine, module, head, by_id)
        except kernels.KernelsUnavailable as reason:
            why = str(reason)
    logger.warning(f"Preprocess and decode run on the CPU, which costs milliseconds a frame: {why}")
    return SessionBackend(TensorRtSession(engine, by_id), head=head)
