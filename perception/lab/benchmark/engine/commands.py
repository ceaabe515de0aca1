"""The GPU commands of benchmark.py: a frame on an engine, cameras in one batch, and long runs."""

from __future__ import annotations

import json as json_format
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Optional

import cv2
import numpy as np
import typer

from detector_service import DetectorService, open_service
from perception.backends.base import request_of
from perception.backends.gpu.cuda import Gpu
from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.session_backend import SessionBackend
from perception.core.errors import BackendError
from perception.core.frame import Frame, Image
from perception.lab.benchmark import predict
from perception.lab.benchmark.engine import cost as engine_cost
from perception.lab.benchmark.engine import start as engine_start
from perception.lab.benchmark.engine.floor import floors
from perception.lab.benchmark.frame_cost import read_clip
from perception.lab.benchmark.processor import clocks, stay_on
from perception.lab.benchmark.steady import resident_mib
from perception.lab.benchmark.timing import each_ms
from perception.settings.model import EngineSettings, ModelSettings, Settings
from perception.system.home import ROOT
from perception.workshop.figures import percentiles, save, show
from perception.workshop.own_file import check_json
from perception.workshop.quantize.agreement import Agreement, agreement

PREDICT = "ultralytics predict, PyTorch"
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
LEAST_SAME_COUNT, LEAST_MATCHED, LEAST_SHARE = 0.98, 0.98, 0.99
LEAST_IOU, LEAST_IOU_OF_HALF, MOST_DIFFERENCE = 0.97, 0.95, 0.02
"""Of two boxes of one vehicle; the second where the engine's own tensors are float16, whose steps are coarse."""

app = typer.Typer(help="On a TensorRT engine, with a GPU")
Engine = Annotated[Path, typer.Argument(help="the engine, or a bare plan")]
Clips = Annotated[list[Path], typer.Option("--clip", help="video of the road; may be given more than once")]
Onnx = Annotated[Path, typer.Option(help="the same detector in ONNX: the reference, and the names of a bare plan")]
Json = Annotated[Optional[Path], typer.Option("--json", callback=check_json, help="write the figures here, too")]
KernelDir = Annotated[Path, typer.Option(help="folder of the built kernels")]
Core = Annotated[
    Optional[int],
    typer.Option(min=0, help="processor core that the measured thread keeps; left out: any"),
]


@app.command()
def frame(
    engine: Engine,
    clip: Clips,
    onnx: Onnx,
    frames: Annotated[int, typer.Option(min=500, help="frames of ours at each size")] = 10_000,
    pictures: Annotated[int, typer.Option(min=64, help="distinct pictures")] = 80,
    weights: Annotated[
        Optional[Path], typer.Option(help=".pt for ultralytics' predict", exists=True, dir_okay=False)
    ] = None,
    predict_python: Annotated[
        str, typer.Option(help="interpreter for predict, where this one has no torch; it then does not run in turn")
    ] = "",
    kernel_dir: KernelDir = ROOT / "engines",
    core: Core = None,
    json: Json = None,
) -> None:
    """The overhead of a frame over its engine, all ways in turn; refuses to time what disagrees with the reference."""
    others = {PREDICT: _predict_here(weights)} if weights and not predict_python else {}
    with ExitStack() as stack:
        ways = engine_cost.open_ways(engine, model_names(onnx), kernel_dir, pictures, stack)
        found = agree(ways.graph, onnx, _read(clip, 10_000))
        refuse_disagreement(found)
        images = _read(clip, -(-pictures // len(clip)))[:pictures]
        stay_on(core)
        figures: dict[str, Any] = {size: _frame_at(size, ways, images, frames, others, engine.name) for size in SIZES}
        gpu = ways.engine.gpu
        figures |= {"gpu": gpu.name, "cuda": gpu.cuda_version, "clocks": clocks(), "agreement": str(found)}
    if weights and predict_python:
        figures["predict"] = _predict(weights, clip[0], predict_python)
    print(f"Agreement with ONNX Runtime: {found}")
    print(f"GPU: {figures['gpu']}, CUDA {figures['cuda']}, clocks {figures['clocks']}")
    save(json, figures)


def _frame_at(
    size: str,
    ways: engine_cost.Ways,
    images: Sequence[Image],
    count: int,
    others: dict[str, Callable[[Image], Any]],
    name: str,
) -> dict[str, Any]:
    """Show the figures of `count` frames of one of SIZES on the engine of this name, and return them."""
    scaled = _resized(images, size)
    rows = _rows(engine_cost.measure(ways, scaled, count, others))
    part_rows = _rows(engine_cost.parts(ways, scaled, rows["F, the engine alone, graph"]["p50"], 1000))
    verdicts = _verdicts(rows)
    show(f"{name} on {ways.engine.gpu.name}, {size}, {count} frames, milliseconds", rows, verdicts)
    show(f"The parts of O at {size}, milliseconds", part_rows, [])
    return {"times": rows, "parts": part_rows, "verdicts": verdicts}


def _read(clips: Sequence[Path], each: int) -> list[Image]:
    return [image for path in clips for image in read_clip(path, each)]


def _resized(images: Sequence[Image], size: str) -> list[Image]:
    return [np.asarray(cv2.resize(image, SIZES[size]), np.uint8) for image in images]


def _rows(times: engine_cost.Times) -> dict[str, dict[str, float]]:
    return {name: percentiles(values) for name, values in times.items()}


def _verdicts(rows: dict[str, dict[str, float]]) -> list[str]:
    ours, floor = rows["L ours, pinned frames"], rows["F, the engine alone, graph"]["p50"]
    ordinary, copy = rows["L ours, ordinary frames"]["p50"], rows["  one copy of a frame"]["p50"]
    predicted = [f"{PREDICT} / ours = {rows[PREDICT]['p50'] / ours['p50']:.1f}"] if PREDICT in rows else []
    return [
        f"O = L - F = {ours['p50'] - floor:.3f} ms, R = L / F = {ours['p50'] / floor:.2f}, "
        f"p99 / p50 = {ours['p99'] / ours['p50']:.3f}",
        f"ordinary frames: L - (pinned L + one copy) = {ordinary - ours['p50'] - copy:+.3f} ms",
        f"the usual loop / ours = {rows['the usual loop']['p50'] / ours['p50']:.1f}",
        *predicted,
    ]


def _predict_here(weights: Path) -> Callable[[Image], Any]:
    """Return ultralytics' predict in this interpreter."""
    try:
        return predict.on_images(str(weights))
    except ImportError as error:
        raise BackendError(
            f"predict cannot run in this interpreter: {error}",
            "Name one that has ultralytics with --predict-python, or leave --weights out.",
        ) from None


def _predict(weights: Path, clip: Path, python: str) -> dict[str, float]:
    """Time ultralytics' predict on the GPU, in an interpreter of its own, on the frames of a clip."""
    command = [python, predict.__file__, "--time", str(weights), str(clip)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise BackendError(f"{python} does not run: {error.strerror}", "Name a Python interpreter.") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise BackendError(f"predict did not run: {last[0]}", "Leave --weights out.")
    rows = {PREDICT: percentiles(json_format.loads(done.stdout.splitlines()[-1]))}
    show(f"{weights.name} on CUDA, milliseconds", rows, [])
    return rows[PREDICT]


@app.command()
def floor(
    engines: Annotated[
        list[Path], typer.Argument(help="engines or bare plans; the others are compared with the first")
    ],
    rounds: Annotated[int, typer.Option(min=1, help="how often each has its turn")] = 6,
    runs: Annotated[int, typer.Option(min=1, help="runs in a turn")] = 1000,
    json: Json = None,
) -> None:
    """The time of engines alone, with one picture, in turn: INT8 beside FP16, say. Needs no model and no clip."""
    with Gpu() as gpu:
        times = floors(gpu, engines, 1, rounds, runs)
    rows = _rows(times)
    first, *others = rows
    ratios = {path: rows[path]["p50"] / rows[first]["p50"] for path in others}
    verdicts = [f"F of {path} / F of {first} = {ratio:.3f}" for path, ratio in ratios.items()]
    show(f"Engines alone on {gpu.name}, CUDA graph, {rounds} turns of {runs} runs, milliseconds", rows, verdicts)
    save(json, {"floor": rows, "ratios": ratios, "gpu": gpu.name, "clocks": clocks()})


@app.command()
def batch(
    engine: Engine,
    single: Annotated[Path, typer.Option(help="the engine of batch 1")],
    clip: Clips,
    onnx: Onnx,
    cameras: int = 4,
    rounds: Annotated[int, typer.Option(min=100)] = 2000,
    kernel_dir: KernelDir = ROOT / "engines",
    json: Json = None,
) -> None:
    """A frame of each of several cameras in one launch, against as many single launches, in turn."""
    names = model_names(onnx)
    images = _resized(_read(clip, 80), "720p")
    with Gpu() as gpu:
        alone = _rows(floors(gpu, (engine, single), cameras, 1, 500))
    with ExitStack() as stack:
        many = stack.enter_context(_open(engine, names, kernel_dir))
        one = stack.enter_context(_open(single, names, kernel_dir))
        found = agree(many, onnx, images, cameras)
        refuse_disagreement(found, LEAST_IOU_OF_HALF)
        rows = _rows(_in_turn(many, one, images, cameras, rounds))
    rows |= {f"F of {path}": row for path, row in alone.items()}
    together, apart = rows[f"{cameras} in one launch"]["p50"], rows[f"{cameras} single launches"]["p50"]
    engines = alone[str(engine)]["p50"] / (cameras * alone[str(single)]["p50"])
    verdicts = [
        f"one launch / {cameras} launches = {together / apart:.3f}, of the engines alone {engines:.3f}",
        str(found),
    ]
    show(f"{cameras} cameras, 720p, pinned frames, {rounds} rounds, milliseconds", rows, verdicts)
    save(json, {"batch": rows, "ratio": together / apart, "agreement": str(found)})


def _in_turn(
    many: DetectorService, one: DetectorService, images: Sequence[Image], cameras: int, rounds: int
) -> engine_cost.Times:
    lent = {service: engine_cost.lent_frames(service, images) for service in (many, one)}
    names = {many: f"{cameras} in one launch", one: f"{cameras} single launches"}
    times: engine_cost.Times = {name: [] for name in names.values()}
    for number in range(rounds + 50):
        for service, name in names.items():
            pictures = [lent[service][(number + camera) % len(lent[service])] for camera in range(cameras)]
            frames = [Frame(picture, number, time.monotonic(), "benchmark") for picture in pictures]
            launch = many.detect if service is many else lambda frames: [one.detect([frame]) for frame in frames]
            taken = each_ms(launch, [frames])
            times[name] += taken if number >= 50 else []
    return times


@app.command()
def memory(
    engine: Engine,
    clip: Clips,
    onnx: Onnx,
    count: Annotated[int, typer.Option(min=2000)] = 200_000,
    json: Json = None,
) -> None:
    """Host and device memory over many frames, against what they were after the first twentieth."""
    images = read_clip(clip[0], 80)
    step = count // 20
    with _open(engine, model_names(onnx), ROOT / "engines") as service:
        import pycuda.driver as cuda

        lent = engine_cost.lent_frames(service, images)
        rows = {}
        for number in range(step, count + 1, step):
            engine_cost.serial(service, lent if number % (2 * step) else images, step, number)
            free, total = cuda.mem_get_info()
            rows[f"after {number}"] = {"host MiB": round(resident_mib(), 1), "device MiB": (total - free) / 2**20}
    first, last = rows[f"after {step}"], rows[f"after {step * 20}"]
    growth = {name: last[name] - first[name] for name in first}
    show(f"{count} frames", rows, [f"growth: {growth}"])
    save(json, {"memory": rows, "growth": growth})


@app.command()
def start(
    engine: Engine,
    clip: Clips,
    onnx: Onnx,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    json: Json = None,
) -> None:
    """From the start of the pilot to its first vehicle line on an engine, beside what CUDA's own start takes."""
    rows, parts = engine_start.measure(ROOT, engine, clip[0], model_names(onnx), rounds)
    show(f"Start to the first vehicle line, {rounds} starts", rows, [])
    show("Where the pilot's time goes, by its log", parts, [])
    save(json, {"start": rows, "parts": parts})


def _open(engine: Path, names: Sequence[str], kernel_dir: Path) -> DetectorService:
    settings = Settings(
        model=ModelSettings(weights=str(engine), names=tuple(names)),
        engine=EngineSettings(dir=kernel_dir, require=True),
    )
    return open_service(settings)


def model_names(onnx: Path) -> list[str]:
    """Return the class names that an ONNX model of ultralytics carries."""
    session = OnnxRuntimeSession(onnx, ModelSettings().imgsz, 1)
    try:
        return list(session.facts.names.values())
    finally:
        session.close()


def agree(service: DetectorService, onnx: Path, images: Sequence[Image], together: int = 1) -> Agreement:
    """Return the agreement of a service, given so many images together, with ONNX Runtime on the CPU."""
    session = OnnxRuntimeSession(onnx, ModelSettings().imgsz, 0)
    backend = SessionBackend(session)
    frames = [Frame(image, 0, 0.0, "agreement") for image in images]
    groups = [frames[start : start + together] for start in range(0, len(frames), together)]
    results = [result for group in groups for result in service.detect(group)]
    with DetectorService(backend, request_of(Settings(), backend.info.class_names)) as reference:
        return agreement(
            (reference.detect([frame])[0].detections, result.detections) for frame, result in zip(frames, results)
        )


def refuse_disagreement(found: Agreement, least_iou: float = LEAST_IOU) -> None:
    """Raise BackendError where the vehicles are not those of the reference: its times would mean nothing."""
    agrees = (
        found.vehicles > 0
        and found.same_count >= LEAST_SAME_COUNT
        and found.share_matched >= LEAST_MATCHED
        and found.share_of_iou(least_iou) >= LEAST_SHARE
        and found.share_of_confidence(MOST_DIFFERENCE) >= LEAST_SHARE
    )
    if not agrees:
        raise BackendError(f"The engine does not agree with the reference: {found}", "Rebuild it from this model.")
