"""scripts/export_int8_engine.py without its flags: what is looked at before an export, and the export."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from perception.app.failed_exports import Memory
from perception.backends.tensorrt.place import Place, check_replaceable, work_folder
from perception.core.errors import BackendError, BuildError, BusyError, GpuError, PilotError, SettingsError
from perception.doctor.finding import Result, Verdict
from perception.doctor.report import text_lines
from perception.system.lock import Held, Lock
from perception.system.trusted_file import reason_of, write_whole
from perception.workshop.build import preflight
from perception.workshop.calibration.calibration_set import CalibrationSet
from perception.workshop.export import report
from perception.workshop.export.children import Children
from perception.workshop.export.install import check_previous, finish, roll_back
from perception.workshop.export.options import Options
from perception.workshop.export.pipeline import VERIFY, Task, examined, float_onnx, quantized_onnx, run
from perception.workshop.export.screen import Screen
from perception.workshop.export.sources import (
    NOBODY,
    Judges,
    Model,
    beside_float,
    calibration_set,
    check_packages,
    find_source,
    judges,
)
from perception.workshop.export.stages.look_stage import Builder
from perception.workshop.export.work import Work
from perception.workshop.ladder import NO_CALIBRATOR
from perception.workshop.stage import DISK

LOOK = "perception.workshop.export.stages.look_stage"
LOOK_S = 60.0
T = TypeVar("T")


def export(options: Options, screen: Screen | None = None) -> int:
    """Exports as asked for; the exit code. Raises PilotError, and SettingsError before anything is done."""
    model = find_source(options)
    place = options.place(model.path.stem)
    check_replaceable(place)
    with ExitStack() as stack:
        screen = stack.enter_context(screen or Screen())
        stack.enter_context(_told(place, screen))
        ends = _Ends(options.dry_run)
        calibration, images = ends.at(lambda: _images(options, model)) or (None, NOBODY)
        for line in report.banner(options, model, calibration):
            screen.say(line)
        found = [] if options.only_onnx else _preflight(options, place, screen)
        ends.at(lambda: preflight.verdict(found, options.force))
        children = Children(options, images, screen, place)
        builder = _look(children, options)
        task = Task(
            options, model, calibration, _method(options, model, builder), str(builder), place,
            Work(place.folder, place.stem),
        )  # fmt: skip
        for line in (*report.plan(task, builder, images), *_known_fault(task.method, builder)):
            screen.say(line)
        ends.at(lambda: check_packages(options, task.method, images))
        if options.dry_run:
            ends.at(lambda: _check_alone(place))
            ends.at(lambda: None if options.only_onnx else _check_builder(builder))
            ends.tell(screen)
            return 0
        stack.enter_context(_alone(place))
        task = replace(task, work=Work(work_folder(place.folder), place.stem))
        children.folder = task.work.folder
        return _only_onnx(task, children, screen) if options.only_onnx else _export(task, builder, children, screen)


class _Ends:
    """Where an export ends. A dry run goes on to its plan, and remembers the faults in the order of the export."""

    def __init__(self, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._faults: list[PilotError] = []

    def at(self, step: Callable[[], T]) -> T | None:
        """What the step gives; in a dry run None where it fails."""
        try:
            return step()
        except PilotError as fault:
            if not self._dry_run:
                raise
            self._faults.append(fault)
            return None

    def tell(self, screen: Screen) -> None:
        """Tells of every fault. Raises the first one, which the export would end with."""
        for fault in self._faults[1:]:
            screen.say(f"And then here: {fault}")
        if self._faults:
            first = self._faults[0]
            raise type(first)(f"An export would end here: {first.what}", first.cure)


def _images(options: Options, model: Model) -> tuple[CalibrationSet | None, Judges]:
    """The images to calibrate and to judge on."""
    calibration = calibration_set(options, model)
    return calibration, NOBODY if options.only_onnx else beside_float(options, model, judges(options, calibration))


def _preflight(options: Options, place: Place, screen: Screen) -> list[Result]:
    """Shows what may be in the way, with the cures; all that was looked at in a dry run."""
    found = preflight.look_around(place.folder.absolute(), options.workspace_mib, options.gpu)
    loud = [one for one in found if one.finding.verdict in (Verdict.WARNING, Verdict.PROBLEM)]
    shown = found if options.dry_run else loud
    if shown:
        screen.say("Preflight")
        *lines, _ = text_lines(shown, width=0, color=False)  # the last one counts
        for line in lines:
            screen.say(f"  {line}")
    return found


def _look(children: Children, options: Options) -> Builder:
    return Builder(**children.stage(LOOK, {"device": options.gpu}, LOOK_S))


def _method(options: Options, model: Model, builder: Builder) -> str:
    """How INT8 gets its ranges. Raises SettingsError for a calibrator that this TensorRT does not have."""
    if options.precision != "int8" or model.is_quantized:
        return ""
    if options.only_onnx:
        return "qdq"
    if options.method == "calibrator" and builder.tensorrt and not builder.has_calibrator:
        raise SettingsError(
            f"TensorRT {builder.tensorrt} has no calibrator any more (--method calibrator)", "Use --method qdq."
        )
    if options.method != "auto":
        return options.method
    # Of the two, Q/DQ keeps more of the accuracy: docs/int8.md has the figures.
    by_calibrator = builder.has_calibrator and importlib.util.find_spec("onnxruntime") is None
    return "calibrator" if by_calibrator else "qdq"


def _known_fault(method: str, builder: Builder) -> list[str]:
    """A word on what is known to fail, before minutes are spent on it."""
    if method == "calibrator" and re.match(r"10\.3\b", builder.tensorrt or ""):
        return [f"Warning: TensorRT {builder.tensorrt} often fails to calibrate YOLO networks. {NO_CALIBRATOR}"]
    return []


@contextmanager
def _told(place: Place, screen: Screen) -> Iterator[None]:
    """A disk that is full or read-only as a sentence, wherever that shows; and a word at a Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        screen.say("Stopped. What was in service still is, and what is done is kept for the next export.")
        raise
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise SettingsError(
            f"{error.filename or place.folder} cannot be written: {reason_of(error)}",
            "Make room on the disk, or name another folder with --output. What was in service still is.",
        ) from None


def _check_alone(place: Place) -> None:
    """Raises BusyError where another export is at work; makes no folder."""
    if place.folder.is_dir():
        _alone(place).close()


def _alone(place: Place) -> ExitStack:
    """Keeps other exports off the folder until it is closed. Raises BusyError."""
    place.folder.mkdir(parents=True, exist_ok=True)
    lock = Lock()
    try:
        lock.take(place.folder)
    except Held as held:
        raise BusyError(f"{held.by} is at work in {place.folder}", "Wait for that export, or end it.") from None
    stack = ExitStack()
    stack.callback(lock.release)
    return stack


def _only_onnx(task: Task, children: Children, screen: Screen) -> int:
    """Ends with the ONNX model in the output folder, and the float one that was made on the way to a quantised one."""
    plain = float_onnx(task, children)
    task = examined(task, plain, children)
    made = quantized_onnx(task, plain, children)
    place, is_quantized = task.place, made != plain
    target = _put(made, place.folder / f"{place.stem}{'_qdq' if is_quantized else ''}.onnx")
    screen.say(f"ONNX model: {report.shown(target)}")
    what, flags = "it", f"--model {target.name} --precision {task.options.precision}"
    if is_quantized:
        reference = plain if task.model.is_onnx else _put(plain, place.folder / f"{place.stem}.onnx")
        screen.say(f"  The float model to judge its engine by: {report.shown(reference)}")
        what, flags = "both", f"{flags} --reference {reference.name}"
    screen.say(f"Next: copy {what} to the device, and there: {report.SCRIPT} {flags}")
    return 0


def _put(made: Path, target: Path) -> Path:
    """A copy of the file, whole or not at all; gives `target`."""
    if made != target:
        try:
            write_whole(target, made.read_bytes())
        except OSError as error:
            raise SettingsError(f"{target} cannot be written: {reason_of(error)}", "Make room on the disk.") from None
    return target


def _check_builder(builder: Builder) -> None:
    if not builder.can_build:
        raise BuildError(
            f"No engine can be built here: {builder.why}",
            "See what scripts/doctor.py says; an ONNX to build from elsewhere is made with --only-onnx.",
        )


def _export(task: Task, builder: Builder, children: Children, screen: Screen) -> int:
    _check_builder(builder)
    finish(task.place, task.work.folder)
    done = run(task, children)
    Memory(task.place, {}).forget()
    for line in report.ending(task, done):
        screen.say(line)
    return 0


def rollback(options: Options, screen: Screen | None = None) -> int:
    """Puts the previous engine back into service, after a trial where there is a GPU; the exit code."""
    stem = Path(options.model).stem
    place = options.place(stem)
    if not place.folder.is_dir():
        raise SettingsError(f"{place.folder} does not exist", "Name the folder of the engines with --output.")
    check_replaceable(place)
    with ExitStack() as stack:
        screen = stack.enter_context(screen or Screen())
        stack.enter_context(_told(place, screen))
        stack.enter_context(_alone(place))
        work = work_folder(place.folder)
        finish(place, work)
        check_previous(place)
        children = Children(options, NOBODY, screen, place)
        if options.force or not _look(children, options).can_build:
            screen.say("The previous engine is not tried, its file alone is checked")
        else:
            _try_previous(place, options, children)
        roll_back(place, work)
        screen.say(f"{report.shown(place.engine)} is the previous engine again")
        for line in report.next_steps(place, options.model):
            screen.say(line)
    return 0


def _try_previous(place: Place, options: Options, children: Children) -> None:
    request = {
        "engine": str(place.previous_engine.absolute()),
        "described_by": str(place.previous_sidecar.absolute()),
        "kernel_dir": str(place.folder.absolute()),
        "imgsz": options.imgsz,
        "device": options.gpu,
    }
    try:
        children.stage(VERIFY, request)
    except (BackendError, GpuError) as fault:
        raise BuildError(f"The previous engine does not run here, and stays aside: {fault.what}", fault.cure) from None
