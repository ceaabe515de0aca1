"""The words around an export: its banner, its plan, its end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.backends.tensorrt.place import Place
from perception.workshop.calibration.calibration_set import CalibrationSet
from perception.workshop.export.options import DATA, Options
from perception.workshop.export.pipeline import Done, Task
from perception.workshop.export.sources import Judges, Model
from perception.workshop.export.stages.look_stage import Builder

SCRIPT = "python3 scripts/export_int8_engine.py"


def banner(options: Options, model: Model, calibration: CalibrationSet | None) -> list[str]:
    """What is about to be made."""
    lines = [f"Starting {options.precision.upper()} TensorRT export", f"  Model: {shown(model.path)}"]
    if options.precision == "int8":
        lines.append(f"  Calibration data: {_data(options, model, calibration)}")
    return [
        *lines,
        f"  Workspace: {options.workspace_gib:g} GiB",
        f"  Batch size: {options.batch}",
        f"  Device: {options.device}",
    ]


def _data(options: Options, model: Model, calibration: CalibrationSet | None) -> str:
    if model.is_quantized:
        return "none needed, the model holds its ranges (Q/DQ)"
    where = shown(options.data or DATA)
    return f"{where} ({len(calibration.images)} images)" if calibration else f"{where} (cannot be used, see below)"


def plan(task: Task, builder: Builder, judges: Judges) -> list[str]:
    """The stages, a line each."""
    options, place = task.options, task.place
    steps = []
    if not task.model.is_onnx:
        size = f"{options.imgsz}x{options.imgsz}" if options.imgsz else "at the size that they were trained at"
        steps.append(f"weights to ONNX, {size}, in a process of its own")
    if task.method == "qdq":
        seen = f"Q/DQ nodes from what ONNX Runtime sees in the images ({task.ranges_by})"
        steps.append(f"{seen}, the decoding kept in float")
    if not options.only_onnx:
        steps += _engine_steps(task, judges)
        kept = f"; the one there is kept as {place.previous_engine.name}" if place.engine.exists() else ""
        steps.append(f"install {shown(place.engine)}{kept}")
    built_with = [] if options.only_onnx else [f"Builder: {builder}"]
    return [*built_with, *task.model.notes, "Plan", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))]


def _engine_steps(task: Task, judges: Judges) -> list[str]:
    options = task.options
    how = {
        "calibrator": f", calibrated by TensorRT ({task.ranges_by}), the decoding kept in FP16",
        "qdq": ", with the precision of the Q/DQ nodes",
    }.get(task.method, "")
    steps = [
        f"build the {options.precision.upper()} engine{how}; where memory is short, again with half the workspace",
        "open it and run a frame, as the pilot does",
    ]
    if judges.are_there:
        steps.append(
            f"compare it with the float model on {judges.words}: what loses more than {options.max_drop:g} points "
            "stays out of service"
        )
    else:
        steps.append(f"its accuracy is not compared with the float model's: {judges.words}")
    return steps


def ending(task: Task, done: Done) -> list[str]:
    """What there is now, and what to do with it."""
    facts, precision = done.facts, task.options.precision
    size = done.engine.stat().st_size / 1e6
    took = facts.get("seconds", {}).get("build")
    lines = [
        f"{precision.upper()} TensorRT engine exported successfully",
        f"  Engine path: {shown(done.engine)}",
        f"  Size: {size:.1f} MB" + (f", built in {took:.0f} s" if took is not None else ""),
        *_about(precision, facts, done.trial),
    ]
    if done.verdict is None:
        lines.append("  Accuracy: not compared with the float model's; scripts/evaluate.py does it on labelled images")
    if done.replaced.why_not:
        lines.append(f"  {done.replaced.why_not}")
    if done.replaced.kept:
        back = f"{SCRIPT} --rollback{_flags(task.options)}"
        lines.append(f"  The engine before it: {task.place.previous_engine.name} (back to it: {back})")
    return [*lines, *next_steps(task.place, task.options.model)]


def _about(precision: str, facts: Mapping[str, Any], trial: Mapping[str, Any]) -> list[str]:
    share = facts.get("builder", {}).get("int8_convolutions")
    told = [f"{share:.0%} of the convolutions run in INT8"] if precision == "int8" and share is not None else []
    if "median_ms" in trial:
        told.append(f"a 720p frame takes {trial['median_ms']:g} ms here")
    return [f"  {'; '.join(told)}"] if told else []


def _flags(options: Options) -> str:
    """The flags that name the same engine again, where they are not the usual ones."""
    usual = Options()
    model = "" if options.model == usual.model else f" --model {shlex.quote(options.model)}"
    output = "" if options.output == usual.output else f" --output {shlex.quote(str(options.output))}"
    return model + output


def next_steps(place: Place, model: str) -> list[str]:
    """What to type next."""
    usual = model == Options().model and place.folder == Options().output
    weights = "" if usual else f" --model {shlex.quote(shown(place.engine))}"
    return [
        f"Next: python3 pilot.py check --require-engine{weights}",
        f"      python3 pilot.py --require-engine{weights}",
    ]


def shown(path: Path) -> str:
    """Relative to the current directory where it lies below it."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(path)
