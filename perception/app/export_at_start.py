"""The export that the pilot makes when it starts without an engine: FP16, in a child, for a limited time, and once."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from perception.app.failed_exports import Memory, inputs_of
from perception.backends.base import Alive
from perception.backends.models.model_files import ModelFiles
from perception.backends.tensorrt.place import Place, check_replaceable
from perception.core.errors import BackendError, BusyError, SettingsError
from perception.settings.model import ROOT, Settings
from perception.system.trusted_file import reason_of

SCRIPT = ROOT / "scripts" / "export_int8_engine.py"
LIMIT_S = 3600.0
"""An FP16 build of a small detector takes 5 to 20 minutes on a Jetson."""
TURN_S = 1.0
END_S = 10.0
"""How long a child that is asked to end may take before it is killed."""
KEPT_LINES = 12


@dataclass(frozen=True, slots=True)
class Order:
    """What to export, and to where. imgsz: side of the input in pixels, None for what the model was made for.

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
    """Installs an FP16 engine, or raises BackendError with the reason; a failure is remembered and not repeated.

    A stop (any exception that `alive` or a signal raises) ends the child and is no failure. command: in the place of
    the order's own.
    """
    try:
        check_replaceable(order.place)
        order.place.folder.mkdir(exist_ok=True)
        memory = Memory(order.place, inputs_of(order.model, order.imgsz))
    except SettingsError as fault:
        raise BackendError(fault.what, fault.cure) from None
    except OSError as error:
        raise BackendError(f"{order.model} cannot be exported: {reason_of(error)}", "Check the disk.") from None
    by_hand = f"Try it by hand, when memory is free: {_shown(order)}"
    if failure := memory.failed_before():
        raise BackendError(failure, by_hand)
    memory.begin()
    try:
        code, last = _run(command or order.command, alive, limit_s)
    except BaseException:
        memory.forget()
        raise
    if code == 0:
        memory.forget()
        return
    if code == BusyError.exit_code:  # somebody else exports: the next start will find an engine, or make one
        memory.forget()
        raise BackendError(f"no export was made: {last}", "Start again when that one is through.")
    what = last if code is not None else f"it took longer than {limit_s / 60:.0f} minutes"
    memory.note(what, code)
    raise BackendError(f"the export failed: {what}", by_hand)


def _shown(order: Order) -> str:
    """The command for a person, who needs no more of it than this."""
    return f"python3 scripts/{SCRIPT.name} --model {order.model} --precision fp16"


def _run(command: Sequence[str], alive: Alive, limit_s: float) -> tuple[int | None, str]:
    """The exit code of the command, None where its time was up, and what it said last. Its lines go to the log."""
    started = time.monotonic()
    last: list[str] = []
    with _child(command) as child:
        while child.poll() is None:
            for_s = time.monotonic() - started
            alive(f"exporting an engine ({for_s:.0f} s)")
            if for_s > limit_s:
                return None, ""
            _log_lines(child, last)
        _log_lines(child, last)
    told = last[-1] if last else "it said nothing"
    code = child.returncode
    return code, told if code >= 0 else f"it was ended by {signal.Signals(-code).name}: {told}"


def _log_lines(child: subprocess.Popen[bytes], last: list[str]) -> None:
    """Logs what the child has written within the next second, or so far where it has ended."""
    assert child.stdout is not None
    ends_at = time.monotonic() + TURN_S
    while (wait_s := ends_at - time.monotonic()) > 0 and select.select([child.stdout], [], [], wait_s)[0]:
        data = os.read(child.stdout.fileno(), 1 << 16)
        if not data:
            with suppress(subprocess.TimeoutExpired):
                child.wait(wait_s)
            return
        for line in data.decode("utf-8", "replace").splitlines():
            if line.strip():
                logger.info(f"export: {line.strip()}")
                last[:] = [*last, line.strip()][-KEPT_LINES:]


@contextmanager
def _child(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a session of its own, of which nothing is left at the end of the block."""
    # No terminal is the child's, so that it writes lines; its own stages end with it.
    child = subprocess.Popen(  # noqa: S603 - our own script
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
