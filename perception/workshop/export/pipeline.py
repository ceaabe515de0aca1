"""The stages of an export in their order, each in a process of its own: what was done before is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from perception.backends.preprocess import PREPROCESS_VERSION
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.place import Place
from perception.core.errors import AccuracyError, BackendError, BuildError, GpuError
from perception.system.trusted_file import sha256_of
from perception.workshop.calibration.calibration_set import CalibrationSet
from perception.workshop.export.install import Replaced, install
from perception.workshop.export.options import Options
from perception.workshop.export.sources import Model
from perception.workshop.export.work import Work, key_of
from perception.workshop.quantize.graph import RECIPE
from perception.workshop.quantize.onnx import OPSET, exporter_versions

EXAMINE = "perception.workshop.export.stages.examine_stage"
ONNX = "perception.workshop.export.stages.onnx_stage"
QDQ = "perception.workshop.export.stages.qdq_stage"
BUILD = "perception.workshop.build.build_stage"
VERIFY = "perception.workshop.export.stages.verify_stage"

RunStage = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Runs the module as a child with the request, and gives its result. Raises PilotError."""


class Verdict(Protocol):
    """What the gate says of an engine: see perception/workshop/accuracy/gate.py."""

    @property
    def passed(self) -> bool: ...

    @property
    def lines(self) -> tuple[str, ...]: ...

    @property
    def report(self) -> Mapping[str, Any]: ...


class Hands(Protocol):
    """What the pipeline has done for it.

    stage: see RunStage. build: a stage that is tried again with less workspace where memory was short. judge: compares
    the engine with the float model, None where no images are there for it.
    """

    def stage(self, module: str, request: Mapping[str, Any]) -> Mapping[str, Any]: ...

    def build(self, request: Mapping[str, Any]) -> Mapping[str, Any]: ...

    def judge(self, onnx: Path, engine: Path) -> Verdict | None: ...

    def say(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Task:
    """An export whose inputs were found. method: "calibrator", "qdq", or "" where nothing is calibrated.

    builder: the library and the GPU that build, in words. layout: of the output, None before it was looked at.
    """

    options: Options
    model: Model
    calibration: CalibrationSet | None
    method: str
    builder: str
    place: Place
    work: Work
    layout: str | None = None

    @property
    def ranges_by(self) -> str:
        """How the ranges of INT8 are found; empty where they are not."""
        return self.options.ranges_by(self.method) if self.method else ""

    @property
    def is_dynamic(self) -> bool:
        """Whether the ONNX must leave the batch open."""
        return self.options.batch > 1 or (self.method == "calibrator" and self.options.calibration_batch > 1)


@dataclass(frozen=True, slots=True)
class Done:
    """An engine in service. facts: of the build; empty where it was built before. trial: of verify_stage."""

    engine: Path
    facts: Mapping[str, Any]
    trial: Mapping[str, Any]
    verdict: Verdict | None
    replaced: Replaced


def run(task: Task, hands: Hands) -> Done:
    """Exports, verifies, judges, installs. Raises PilotError; then what was in service still is."""
    plain = float_onnx(task, hands)
    task = examined(task, plain, hands)
    onnx = quantized_onnx(task, plain, hands)
    engine, facts = _built(task, onnx, hands)
    trial = _tried(task, engine, hands)
    verdict = _judged(task, plain, engine, hands)
    try:
        replaced = install(engine, task.place, task.work.folder)
    finally:
        if not engine.exists():
            task.work.forget(engine)
    return Done(task.place.engine, facts, trial, verdict, replaced)


def float_onnx(task: Task, hands: Hands) -> Path:
    """The ONNX model of the weights, made once for the same weights and size."""
    model, options = task.model, task.options
    if model.is_onnx:
        return model.path
    inputs = {
        "weights": sha256_of(model.path),
        "imgsz": options.imgsz,
        "dynamic": task.is_dynamic,
        "opset": OPSET,
        "exporter": exporter_versions(),
    }
    target = task.work.onnx(key_of(inputs))
    if target.exists():
        hands.say(f"ONNX of these weights: {target}, made before")
        return target
    request = {"weights": model.path, "target": target, "imgsz": options.imgsz, "dynamic_batch": task.is_dynamic}
    hands.stage(ONNX, _as_json(request))
    task.work.forget_others(target)
    return target


def examined(task: Task, onnx: Path, hands: Hands) -> Task:
    """The task with the layout of the model. Raises SettingsError for what is no detector, or cannot become one."""
    options = task.options
    request = {
        "onnx": onnx,
        "folder": task.work.folder,
        "imgsz": options.imgsz,
        "layout": options.layout,
        "precision": "" if task.model.is_quantized else options.precision,
    }
    return replace(task, layout=hands.stage(EXAMINE, _as_json(request)).get("layout"))


def quantized_onnx(task: Task, onnx: Path, hands: Hands) -> Path:
    """The model with Q/DQ nodes where that is the method, made once for the same model and images; else `onnx`."""
    if task.method != "qdq" or task.calibration is None:
        return onnx
    inputs = {
        "onnx": sha256_of(onnx),
        "manifest": task.calibration.manifest_sha256,
        "calibrator": task.ranges_by,
        "imgsz": task.options.imgsz,
        "layout": task.layout,
        "preprocess": PREPROCESS_VERSION,
        "recipe": RECIPE,
    }
    target = task.work.onnx(key_of(inputs), ".qdq")
    if target.exists() and not task.options.recalibrate:
        hands.say(f"Q/DQ model of these images: {target}, made before")
        return target
    request = {
        "onnx": onnx,
        "images": list(task.calibration.images),
        "target": target,
        "imgsz": task.options.imgsz,
        "layout": task.layout,
        "calibrator": task.ranges_by,
    }
    hands.stage(QDQ, _as_json(request))
    task.work.forget_others(target)
    return target


def _built(task: Task, onnx: Path, hands: Hands) -> tuple[Path, Mapping[str, Any]]:
    """The engine, not in service yet, and the facts of its build."""
    request = build_request(task, onnx)
    inputs = {
        **request,
        "onnx": sha256_of(onnx),
        "builder": task.builder,
        "preprocess": PREPROCESS_VERSION,
        "recipe": RECIPE,
    }
    for unimportant in ("images", "recalibrate", "timing_cache", "cache_dir"):
        inputs.pop(unimportant, None)
    engine = task.work.engine(key_of(inputs))
    if not task.options.recalibrate and _is_whole(engine):
        hands.say(f"This engine was built before, and is not in service yet: {engine}")
        return engine, {}
    task.work.forget_others(engine)
    engine.parent.mkdir(parents=True, exist_ok=True)
    result = hands.build(_as_json({**request, "engine": engine}))
    return engine, result.get("facts", {})


def build_request(task: Task, onnx: Path) -> dict[str, Any]:
    """What perception/workshop/build/request.py asks for, less the engine's path."""
    options, calibration = task.options, task.calibration
    request: dict[str, Any] = {
        "onnx": onnx,
        "precision": options.precision,
        "batch": options.batch,
        "imgsz": options.imgsz,
        "layout": task.layout,
        "device": options.gpu,
        "workspace_mib": options.workspace_mib,
        "optimization_level": options.optimization_level,
        "tactic_sources": options.tactic_sources,
        "timing_cache": options.timing_cache or task.work.folder / "timing.cache",
        "weights_sha256": None if task.model.is_onnx else sha256_of(task.model.path),
    }
    if calibration is not None:
        about = {"manifest_sha256": calibration.manifest_sha256, "algorithm": f"qdq {task.ranges_by}"}
        if task.method == "qdq":
            request["calibrated"] = {"images": len(calibration.images), **about}
        else:
            request |= {
                "images": list(calibration.images),
                "manifest_sha256": calibration.manifest_sha256,
                "calibrator": task.ranges_by,
                "calibration_batch": options.calibration_batch,
                "cache_dir": options.cache or task.work.folder,
                "recalibrate": options.recalibrate,
            }
    return request


def _is_whole(engine: Path) -> bool:
    """Whether an engine of an export that did not end is there with its sidecar, unchanged."""
    try:
        return open_engine(engine).sidecar is not None
    except BackendError:
        return False


def _tried(task: Task, engine: Path, hands: Hands) -> Mapping[str, Any]:
    request = {
        "engine": engine,
        "described_by": None,
        "kernel_dir": task.place.folder,
        "imgsz": task.options.imgsz,
        "device": task.options.gpu,
    }
    with _runs():
        trial = hands.stage(VERIFY, _as_json(request))
    if task.layout is None and trial.get("layout"):
        _note(engine, layout=trial["layout"])
    return trial


@contextmanager
def _runs() -> Iterator[None]:
    """What a run time says of the new engine is a fault of the build."""
    try:
        yield
    except (BackendError, GpuError) as fault:
        raise BuildError(f"The new engine does not run, and is left out of service: {fault.what}", fault.cure) from None


def _judged(task: Task, onnx: Path, engine: Path, hands: Hands) -> Verdict | None:
    """What the gate says, written into the sidecar. Raises AccuracyError where the engine stays out of service."""
    with _runs():
        verdict = hands.judge(onnx, engine)
    if verdict is None:
        return None
    _note(engine, accuracy=dict(verdict.report))
    for line in verdict.lines:
        hands.say(line)
    if not verdict.passed:
        raise AccuracyError(
            f"The new engine did not pass beside the float model, and stays out of service (it is {engine})",
            "What was in service still is. A larger drop is accepted with --max-drop, without another build.",
        )
    return verdict


def _note(engine: Path, **found: Any) -> None:
    """Writes what was found of an engine into its sidecar."""
    sidecar = open_engine(engine).sidecar
    if sidecar is None:
        raise BuildError(f"{engine} has no sidecar any more", "Leave the folder alone during an export.")
    replace(sidecar, **found).write(engine.with_suffix(".json"))


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with paths as text, those that are None left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute())
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return {name: plain(value) for name, value in values.items() if value is not None}
