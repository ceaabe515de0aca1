"""The cost of a frame on a TensorRT engine beyond the engine itself: all ways in turn, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector_service import DetectorService
from perception.backends.base import request_of
from perception.backends.gpu import kernels
from perception.backends.gpu.cuda import Gpu
from perception.backends.gpu.pipeline import GpuPipeline
from perception.backends.models.choice import Candidate, Wish, choose
from perception.backends.models.model_facts import Facts
from perception.backends.session_backend import SessionBackend
from perception.backends.tensorrt import identity
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.runtime import Engine
from perception.backends.tensorrt.session import TensorRtSession
from perception.core.errors import BackendError
from perception.core.frame import Frame, Image
from perception.lab.benchmark.engine.floor import WARMUP, floor
from perception.lab.benchmark.timing import each_ms, over_and_over
from perception.settings.model import ModelSettings, Settings

BLOCK = 1000
"""Frames of one way before the next has its turn."""
RARE = 5
"""One turn of the slow ways for each RARE turns of the others."""

Times = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to be compared, on one engine: each its own context on the same GPU."""

    graph: DetectorService
    eager: DetectorService
    usual: DetectorService
    pipeline: GpuPipeline
    engine: Engine


def open_ways(path: Path, names: Sequence[str], kernel_dir: Path, pictures: int, stack: ExitStack) -> Ways:
    """Open ours with a CUDA graph and without, and the usual loop: OpenCV's letterbox, full output, numpy's NMS.

    pictures: how many page-locked frames each of ours has, so that every picture has one of its own. Raises
    BackendError where one cannot be opened; the stack closes what is open by then.
    """
    file = open_engine(path)
    by_id = identity.class_names(file, names)

    def engine() -> Engine:
        gpu = stack.enter_context(Gpu())
        opened = Engine(file, gpu, ModelSettings().imgsz)
        stack.callback(opened.close)
        return opened

    def pipeline(with_graph: bool) -> GpuPipeline:
        own = engine()
        head = choose(Candidate(file.path, Facts(by_id), by_id, own.input_hw, own.try_out, str), Wish())
        return GpuPipeline(own, _kernels(own.gpu, kernel_dir), head, by_id, with_graph, pictures)

    graph = pipeline(with_graph=True)
    ours = _service(stack, graph)
    eager = _service(stack, pipeline(with_graph=False))
    usual = _service(stack, SessionBackend(TensorRtSession(engine(), by_id)))
    alone = engine()
    alone.set_batch(1)
    return Ways(ours, eager, usual, graph, alone)


def _kernels(gpu: Gpu, folder: Path) -> Any:
    try:
        return kernels.load_module(gpu, folder)
    except kernels.KernelsUnavailable as reason:
        raise BackendError(f"The CUDA kernels cannot be had: {reason}", "This benchmark needs them.") from None


def _service(stack: ExitStack, backend: GpuPipeline | SessionBackend) -> DetectorService:
    return stack.enter_context(DetectorService(backend, request_of(Settings(), backend.info.class_names)))


def lent_frames(service: DetectorService, images: Sequence[Image]) -> list[Image]:
    """Return the pictures, all of one size, in the service's own frames: as many as it lends."""
    service.lend((images[0].shape[0], images[0].shape[1]))  # from the next picture on there are frames of its size
    service.detect([_frame(images[0])])
    lent: list[Image] = []
    for image in images:
        frame = service.lend((image.shape[0], image.shape[1]))
        if frame is None:
            break
        np.copyto(frame, image)
        lent.append(frame)
    return lent


def serial(service: DetectorService, images: Sequence[Image], count: int, first: int = 0) -> list[float]:
    """Return ms from a frame in host memory to its vehicles in Python, one frame after the other."""
    return each_ms(service.detect, ([_frame(image)] for image in over_and_over(images, count, first)))


def _frame(image: Image) -> Frame:
    return Frame(image, 0, time.monotonic(), "benchmark")


def measure(ways: Ways, images: Sequence[Image], count: int, others: dict[str, Callable[[Image], Any]]) -> Times:
    """Return the milliseconds by way over `count` frames of ours, block by block in turn.

    others: further ways to detect on one image, by name; they and the usual loop have a turn in RARE.
    """
    lent, lent_eager = lent_frames(ways.graph, images), lent_frames(ways.eager, images)
    target = lent.pop()

    def copy(image: Image) -> None:
        np.copyto(target, image)

    times: Times = {}
    for service, frames in ((ways.graph, lent), (ways.eager, lent_eager), (ways.usual, images[:20])):
        serial(service, frames, WARMUP)
    for detect in others.values():
        each_ms(detect, over_and_over(images, WARMUP // RARE))
    for block, first in enumerate(range(0, count, BLOCK)):
        size = min(BLOCK, count - first)
        turns: list[tuple[str, Callable[[int], list[float]]]] = [
            ("F, the engine alone, graph", lambda n: floor(ways.engine, n, with_graph=True)),
            ("F without graph", lambda n: floor(ways.engine, n, with_graph=False)),
            ("L ours, pinned frames", lambda n: serial(ways.graph, lent, n, first)),  # noqa: B023
            ("L ours, ordinary frames", lambda n: serial(ways.graph, images, n, first)),  # noqa: B023
            ("  one copy of a frame", lambda n: each_ms(copy, over_and_over(images, n, first))),  # noqa: B023
            ("L ours, pinned, no graph", lambda n: serial(ways.eager, lent_eager, n, first)),  # noqa: B023
        ]
        for name, run in turns:
            times.setdefault(name, []).extend(run(size))
        if block % RARE == 0:
            usual = serial(ways.usual, images, size // RARE, first)
            times.setdefault("the usual loop", []).extend(usual)
            for name, detect in others.items():
                times.setdefault(name, []).extend(each_ms(detect, over_and_over(images, size // RARE, first)))
    return times


def parts(ways: Ways, images: Sequence[Image], floor_ms: float, count: int) -> Times:
    """Return the parts of L beside the engine, in ms for each frame: with F they add up to L."""
    lent = lent_frames(ways.graph, images)
    times: Times = {}
    for number in range(count):
        result = ways.graph.detect([_frame(lent[number % len(lent)])])[0]
        letterbox, engine, filtering = ways.pipeline.device_ms
        pre, infer, post = result.stages.preprocess_ms, result.stages.infer_ms, result.stages.postprocess_ms
        assert pre is not None
        assert infer is not None
        assert post is not None
        for name, value in (
            ("letterbox kernel", letterbox),
            ("engine, as the kernels around it see it, less F", engine - floor_ms),
            ("kernels after the engine", filtering),
            ("launch and waiting", infer - engine),
            ("Python before the launch", pre - letterbox),
            ("Python after them", post - filtering),
            ("the rest of detect", result.total_ms - pre - infer - post),
        ):
            times.setdefault(name, []).append(value)
    return times
