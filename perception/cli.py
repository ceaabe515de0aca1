"""The command line of pilot.py: flags to settings, faults to sentences and exit codes."""

from __future__ import annotations

import enum
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer
from loguru import logger

from perception.config import ROOT, Settings, load
from perception.errors import PilotError
from perception.reporting.logs import TextLog, start_logging
from perception.reporting.sinks import text_and_record_bytes
from perception.stop import StopFlag

Job = Callable[[Settings, StopFlag, TextLog], int]


class Action(str, enum.Enum):
    """What pilot.py does."""

    run = "run"
    check = "check"


# typer reads these at run time, on Python 3.10 too: Optional, where newer code would write X | None.
_Text = Optional[str]
_Path = Optional[Path]
_Number = Optional[float]
_Count = Optional[int]
_Switch = Optional[bool]


def _option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, show_default=False)


def start(run: Job, check: Job, stop: StopFlag) -> NoReturn:
    """Parses the command line, does the job with the settings it gives, and leaves with the exit code."""

    def command(
        action: Annotated[Action, typer.Argument(help="run, or check everything without running")] = Action.run,
        config: Annotated[Path, typer.Option(help="settings file")] = ROOT / "config" / "pilot.yaml",
        source: Annotated[_Text, _option("--source", help="URI or path: csi://0, rtsp://..., clip.mp4, ...")] = None,
        model: Annotated[_Text, _option("--model", help=".pt, .onnx or .engine, a path or a name")] = None,
        conf: Annotated[_Number, _option("--conf", help="confidence above which a vehicle counts, 0 to 1")] = None,
        iou: Annotated[_Number, _option("--iou", help="overlap above which two boxes are one vehicle, 0 to 1")] = None,
        record: Annotated[_Path, _option("--record", help="write the annotated video to this .mp4")] = None,
        truth: Annotated[
            _Path, _option("--truth", help="write what was really there in a demo:// run, as JSONL")
        ] = None,
        show: Annotated[_Switch, _option("--show/--no-show", help="show the annotated picture in a window")] = None,
        max_frames: Annotated[_Count, _option("--max-frames", help="end after so many frames")] = None,
        duration: Annotated[_Number, _option("--duration", help="end after so many seconds")] = None,
        require_engine: Annotated[
            _Switch, _option("--require-engine/--no-require-engine", help="serve from a TensorRT engine or not at all")
        ] = None,
        allow_cpu: Annotated[
            _Switch, _option("--allow-cpu/--no-allow-cpu", help="the CPU may serve where no GPU can")
        ] = None,
        int8: Annotated[_Switch, _option("--int8/--no-int8", help="an INT8 engine may serve")] = None,
        fp16: Annotated[_Switch, _option("--fp16/--no-fp16", help="an FP16 engine may serve")] = None,
    ) -> None:
        """Detects vehicles in a camera or a clip, and logs each frame with its latency.

        Flags go before the settings file. Exit codes: 0 end of stream or asked to stop, 2 settings, 3 source,
        4 no allowed backend, 5 GPU fault.
        """
        flags = {
            "source.uri": ("--source", source),
            "model.weights": ("--model", model),
            "model.conf": ("--conf", conf),
            "model.iou": ("--iou", iou),
            "record.path": ("--record", record and str(record)),
            "record.truth": ("--truth", truth and str(truth)),
            "run.show": ("--show", show),
            "run.max_frames": ("--max-frames", max_frames),
            "run.duration_s": ("--duration", duration),
            "engine.require": ("--require-engine", require_engine),
            "allow_cpu": ("--allow-cpu", allow_cpu),
            "int8": ("--int8", int8),
            "fp16": ("--fp16", fp16),
        }
        _leave(_do(run if action is Action.run else check, config, flags, stop))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    app()
    raise AssertionError("the command leaves by itself")


def _do(job: Job, config: Path, flags: dict[str, tuple[str, Any]], stop: StopFlag) -> int:
    """The exit code of the job; a PilotError becomes its sentence on stderr."""
    start_logging("INFO", None, 0)
    try:
        settings = load(config, flags)
        text_bytes, _ = text_and_record_bytes(settings)
        log = start_logging(
            settings.log.level, settings.log_dir / "pilot.log" if settings.log.file else None, text_bytes
        )
        return job(settings, stop, log)
    except PilotError as fault:
        logger.error(str(fault))
        return fault.exit_code


def _leave(code: int) -> NoReturn:
    # The interpreter's own end puts back the default handlers: a late second Ctrl-C would then decide the exit code.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            # A closed pipe or a full disk takes no more; the interpreter would try again at its end and exit with 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if threading.active_count() > 1:
        # A reader that hangs in a driver would hold up the interpreter's own end, or crash it.
        os._exit(code)
    sys.exit(code)
