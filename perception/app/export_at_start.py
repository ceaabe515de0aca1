"""The export that the pilot makes when it starts without an engine: FP16, in a child, for a limited time, and once."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from perception.app.failed_exports import FailureNote, inputs_of
from perception.backends.base import Alive
from perception.backends.models.model_files import ModelFiles
from perception.backends.tensorrt.place import Place, check_replaceable
from perception.core.errors import BackendError, BusyError, SettingsError
from perception.settings.model import Settings
from perception.system.home import ROOT
from perception.system.plain_file import reason_of
from perception.system.process import Child, signal_name

SCRIPT = ROOT / "scripts" / "export_int8_engine.py"
LIMIT_S = 3600.0
"""An FP16 build of a small detector takes 5 to 20 minutes on a Jetson."""
TURN_S = 1.0
END_S = 10.0
"""The time that a child may take to end before it is killed."""


@dataclass(frozen=True, slots=True)
class Order:
    """An export to make. imgsz: side of the input in pixels, None for what the model was made for.

    layout: of its output, None where it is to be found. device: which GPU, as CUDA counts.
    """

    model: Path
    place: Place
    imgsz: int | None
    device: int
    layout: str | None = None

    @property
    def command(self) -> list[str]:
        """The command line, which a person may type as well."""
        return [
            *(sys.executable, str(SCRIPT), "--model", str(self.model), "--precision", "fp16"),
            *("--output", str(self.place.folder)),
            *(("--imgsz", str(self.imgsz)) if self.imgsz else ()),
            *(("--layout", self.layout) if self.layout else ()),
            *("--device", f"cuda:{self.device}"),
        ]


def export_engine(settings: Settings, files: ModelFiles, alive: Alive) -> None:
    """Export the model of the settings: the Export that the selection of a backend is handed."""
    place = Place(settings.engine_dir, files.stem)
    model = settings.model
    export_at_start(Order(files.weights[0], place, model.imgsz, settings.engine.device, model.layout), alive)


def export_at_start(order: Order, alive: Alive, limit_s: float = LIMIT_S, command: Sequence[str] = ()) -> None:
    """Install an FP16 engine, or raise BackendError with the reason; a failure is remembered and not repeated.

    A stop (any exception that `alive` or a signal raises) ends the child and is no failure. command: in the place of
    the order's own.
    """
    try:
        check_replaceable(order.place)
        order.place.folder.mkdir(exist_ok=True)
        note = FailureNote(order.place, inputs_of(order.model, order.imgsz))
    except SettingsError as fault:
        raise BackendError(fault.what, fault.cure) from None
    except OSError as error:
        raise BackendError(f"{order.model} cannot be exported: {reason_of(error)}", "Check the disk.") from None
    by_hand = f"Try it by hand, when memory is free: {_shown(order)}"
    if failure := note.failed_before():
        raise BackendError(failure, by_hand)
    note.begin()
    try:
        code, last = _run(command or order.command, alive, limit_s)
    except BaseException:
        note.forget()
        raise
    if code == 0:
        note.forget()
        return
    if code == BusyError.exit_code:  # somebody else exports: the next start will find an engine, or make one
        note.forget()
        raise BackendError(f"no export was made: {last}", "Start again when that one is through.")
    what = last if code is not None else f"it took longer than {limit_s / 60:.0f} minutes"
    note.failed(what, code)
    raise BackendError(f"the export failed: {what}", by_hand)


def _shown(order: Order) -> str:
    """Return the command for a person, who needs no more of it than this."""
    return f"python3 scripts/{SCRIPT.name} --model {order.model} --precision fp16"


def _run(command: Sequence[str], alive: Alive, limit_s: float) -> tuple[int | None, str]:
    """Return the exit code of the command, None where its time was up, and its last line. Its lines go to the log."""
    started = time.monotonic()
    last = ["it said nothing"]

    def log(_: bool, text: bytes) -> None:
        for line in map(str.strip, text.decode("utf-8", "replace").splitlines()):
            if line:
                logger.info(f"export: {line}")
                last[0] = line

    # No terminal is the child's, so that it writes lines; its own stages end with it.
    with Child(command, grace_s=END_S, one_output=True) as child:
        code = None
        while code is None:
            for_s = time.monotonic() - started
            alive(f"exporting an engine ({for_s:.0f} s)")
            if for_s > limit_s:
                return None, ""
            code = child.follow(log, time.monotonic() + TURN_S)
    return code, last[0] if code >= 0 else f"it was ended by {signal_name(-code)}: {last[0]}"
