"""The stages of an export in their order, each in a process of its own: what was done before is not done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from perception.backends.preprocess import PREPROCESS_VERSION
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.place import Place
from perception.core.errors import AccuracyError, BackendError, BuildError, GpuError
from perception.system.trusted_file import sha256_of
from perception.workshop.accuracy.gate import Verdict
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
AS_ASKED = ("precision", "batch", "imgsz", "workspace_mib", "optimization_level", "tactic_sources")
"""The options that a build takes as they are, under the same names."""


class Stages(Protocol):
    """Runs the steps of the pipeline.

    stage: runs the module as a child with the request, and returns its result; raises PilotError. build: the same for
    the building stage, again with less workspace where memory was short. judge: compares the engine with the float
    model; returns None without images.
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
        """The calibrator of INT8; empty where nothing is calibrated."""
        return self.options.ranges_by(self.method) if self.method else ""

    @property
    def is_dynamic(self) -> bool:
        """True if the ONNX must leave the batch open."""
        return self.options.batch > 1 or (self.method == "calibrator" and self.options.calibration_batch > 1)


@dataclass(frozen=True, slots=True)
class Done:
    """An engine in service. facts: of the build; empty where it was built before. trial: of verify_stage."""

    engine: Path
    facts: Mapping[str, Any]
    trial: Mapping[str, Any]
    verdict: Verdict | None
    replaced: Replaced


def run(task: Task, stages: Stages) -> Done:
    """Export, verify, judge, install. Raises PilotError; then what was in service still is."""
    plain = float_onnx(task, stages)
    task = examined(task, plain, stages)
    onnx = quantized_onnx(task, plain, stages)
    engine, facts = _built(task, onnx, stages)
    trial = _tried(task, engine, stages)
    verdict = _judged(task, plain, engine, stages)
    try:
        replaced = install(engine, task.place, task.work.folder)
    finally:
        if not engine.exists():
            task.work.forget(engine)
    return Done(task.place.engine, facts, trial, verdict, replaced)


def float_onnx(task: Task, stages: Stages) -> Path:
    """Return the ONNX model of the weights, made once for the same weights and size."""
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
        stages.say(f"ONNX of these weights: {target}, made before")
        return target
    request = {"weights": model.path, "target": target, "imgsz": options.imgsz, "dynamic_batch": task.is_dynamic}
    stages.stage(ONNX, _as_json(request))
    task.work.forget_others(target)
    return target


def examined(task: Task, onnx: Path, stages: Stages) -> Task:
    """Return the task with the layout of the model. Raises SettingsError for what is no usable detector."""
    options = task.options
    request = {
        "onnx": onnx,
        "folder": task.work.folder,
        "imgsz": options.imgsz,
        "layout": options.layout,
        "precision": "" if task.model.is_quantized else options.precision,
    }
    return replace(task, layout=stages.stage(EXAMINE, _as_json(request)).get("layout"))


def quantized_onnx(task: Task, onnx: Path, stages: Stages) -> Path:
    """Return the model with Q/DQ nodes if that is the method, made once for the same model and images; else `onnx`."""
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
        stages.say(f"Q/DQ model of these images: {target}, made before")
        return target
    request = {
        "onnx": onnx,
        "images": list(task.calibration.images),
        "target": target,
        "imgsz": task.options.imgsz,
        "layout": task.layout,
        "calibrator": task.ranges_by,
    }
    stages.stage(QDQ, _as_json(request))
    task.work.forget_others(target)
    return target


def _built(task: Task, onnx: Path, stages: Stages) -> tuple[Path, Mapping[str, Any]]:
    """Return the engine, not in service yet, and the facts of its build."""
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
        stages.say(f"This engine was built before, and is not in service yet: {engine}")
        return engine, {}
    task.work.forget_others(engine)
    engine.parent.mkdir(parents=True, exist_ok=True)
    result = stages.build(_as_json({**request, "engine": engine}))
    return engine, result.get("facts", {})


def build_request(task: Task, onnx: Path) -> dict[str, Any]:
    """Return the fields of perception/workshop/build/request.py, without the engine's path."""
    options, calibration = task.options, task.calibration
    request: dict[str, Any] = {
        **{name: getattr(options, name) for name in AS_ASKED},
        "onnx": onnx,
        "layout": task.layout,
        "device": options.gpu,
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
    """Return True if the engine of an interrupted export exists with its sidecar, unchanged."""
    try:
        return open_engine(engine).sidecar is not None
    except BackendError:
        return False


def _tried(task: Task, engine: Path, stages: Stages) -> Mapping[str, Any]:
    request = {
        "engine": engine,
        "described_by": None,
        "kernel_dir": task.place.folder,
        "imgsz": task.options.imgsz,
        "device": task.options.gpu,
    }
    with _runs():
        trial = stages.stage(VERIFY, _as_json(request))
    if task.layout is None and trial.get("layout"):
        _note(engine, layout=trial["layout"])
    return trial


@contextmanager
def _runs() -> Iterator[None]:
    """Turn a fault of the run time with the new engine into a fault of the build."""
    try:
        yield
    except (BackendError, GpuError) as fault:
        raise BuildError(f"The new engine does not run, and is left out of service: {fault.what}", fault.cure) from None


def _judged(task: Task, onnx: Path, engine: Path, stages: Stages) -> Verdict | None:
    """Return the gate's verdict, and write it into the sidecar. Raises AccuracyError where the engine did not pass."""
    with _runs():
        verdict = stages.judge(onnx, engine)
    if verdict is None:
        return None
    _note(engine, accuracy=dict(verdict.report))
    for line in verdict.lines:
        stages.say(line)
    if not verdict.passed:
        raise AccuracyError(
            f"The new engine did not pass beside the float model, and stays out of service (it is {engine})",
            "What was in service still is. A larger drop is accepted with --max-drop, without another build.",
        )
    return verdict


def _note(engine: Path, **found: Any) -> None:
    """Write what was found of an engine into its sidecar."""
    sidecar = open_engine(engine).sidecar
    if sidecar is None:
        raise BuildError(f"{engine} has no sidecar any more", "Leave the folder alone during an export.")
    replace(sidecar, **found).write(engine.with_suffix(".json"))


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with paths as text, those that are None left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute())
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return {name: plain(value) for name, value in values.items() if value is not None}
