"""F, the time of an engine alone: in a CUDA graph, timed by the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from perception.backends.gpu.cuda import CaptureRefused, Gpu, Graph
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.runtime import Engine
from perception.core.errors import BackendError
from perception.settings.model import ModelSettings

WARMUP = 200
"""Runs before the first that counts."""


def floor(engine: Engine, count: int, with_graph: bool) -> list[float]:
    """Time the engine alone by events of the device: ms for each of `count` runs, serial.

    Raises BackendError where there is to be a graph and none can be recorded.
    """
    gpu = engine.gpu
    engine.enqueue()
    gpu.stream.synchronize()
    try:
        graph = Graph(gpu.stream.handle, engine.enqueue) if with_graph else None
    except CaptureRefused as refusal:
        raise BackendError(f"The engine alone cannot be a CUDA graph: {refusal}") from None
    launch: Callable[[], None] = graph.launch if graph else engine.enqueue
    begin, end = gpu.cuda.Event(), gpu.cuda.Event()
    times = []
    for _ in range(count):
        begin.record(gpu.stream)
        launch()
        end.record(gpu.stream)
        end.synchronize()
        times.append(end.time_since(begin))
    if graph:
        graph.close()
    return times


def floors(gpu: Gpu, paths: Sequence[Path], batch: int, rounds: int, runs: int) -> dict[str, list[float]]:
    """Return F of several engines by path, in ms, all open at once: in each round each has a turn of so many runs.

    batch: pictures in a run, or as many as an engine holds at most. Raises BackendError as `open_engine` and `floor`
    do, and for an engine that never runs so few.
    """
    times: dict[str, list[float]] = {str(path): [] for path in paths}
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for name in times:
            engine = engines[name] = Engine(open_engine(Path(name)), gpu, ModelSettings().imgsz)
            stack.callback(engine.close)
            if engine.smallest_batch > batch:
                raise BackendError(
                    f"{name} runs {engine.smallest_batch} pictures at once or more, not {batch}",
                    f"Give an engine of batch {batch}, or of open batch.",
                )
            engine.set_batch(min(engine.batch, batch))
            floor(engine, WARMUP, with_graph=True)
        for _ in range(rounds):
            for name, engine in engines.items():
                times[name] += floor(engine, runs, with_graph=True)
    return times
