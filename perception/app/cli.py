"""The command line of pilot.py: flags to settings, faults to sentences and exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NoReturn, Optional

import typer
from loguru import logger

from perception.app.footage import protect
from perception.app.sinks import text_and_record_bytes
from perception.core.errors import BackendError, GpuError, PilotError, SettingsError, SourceError
from perception.core.redact import clean, redact_value
from perception.reporting.logs import TextLog, start_logging
from perception.settings.live import LiveSettings
from perception.settings.model import load
from perception.system.home import LOCAL, ROOT, SHIPPED, settings_path
from perception.system.own_files import keep_world_from_writing
from perception.system.plain_file import from_home
from perception.system.reasons import lack_of_memory
from perception.system.stop import StopFlag, Stopped

Job = Callable[[LiveSettings, StopFlag, TextLog], int]


KEYS: Mapping[str, str] = MappingProxyType(
    {
        "source": "source.uri",
        "wait": "source.wait",
        "model": "model.weights",
        "conf": "model.conf",
        "iou": "model.iou",
        "record": "record.path",
        "web": "web.bind",
        "truth": "record.truth",
        "overwrite": "record.overwrite",
        "show": "run.show",
        "max_frames": "run.max_frames",
        "duration": "run.duration_s",
        "require_engine": "engine.require",
        "allow_cpu": "allow_cpu",
        "int8": "int8",
        "fp16": "fp16",
    }
)
"""The setting that each flag overrides."""


HELP = f"""Detects vehicles in a camera or a clip, and logs each frame with its latency.

Flags go before the settings file. Exit codes: 0 end of stream or asked to stop, {SettingsError.exit_code} settings,
{SourceError.exit_code} source, or what else is in use or not there yet, {BackendError.exit_code} no allowed backend,
{GpuError.exit_code} GPU fault or no memory; {PilotError.exit_code} a bug, or where check --doctor finds a problem of
the machine alone.
"""

# typer reads these at run time, on Python 3.10 too: Optional, where newer code would write X | None.
_Text = Optional[str]
_Words = Optional[list[str]]
_Number = Optional[float]
_Count = Optional[int]
_Switch = Optional[bool]


def _option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, show_default=False)


def start(run: Job, check: Job, stop: StopFlag) -> NoReturn:
    """Parse the command line, do the job with its settings, and exit with its code."""
    keep_world_from_writing()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=HELP)(_command)
    try:
        code = app(obj=({"run": run, "check": check}, stop), standalone_mode=False)
    except Exception as fault:
        if not callable(show := getattr(fault, "show", None)):
            _complain(traceback.format_exc())  # a bug
            sys.exit(1)
        said = io.StringIO()  # typer's message on a wrong flag, which it quotes
        show(said)
        _complain(said.getvalue())
        sys.exit(getattr(fault, "exit_code", 2))
    sys.exit(code or 0)  # after --help


def _complain(text: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # closed, or full
            sys.stderr.write("".join(f"{clean(line)}\n" for line in text.splitlines()))


def _command(
    context: typer.Context,
    # Plain text, checked here: it may by mistake be a URL with a password, which typer would print.
    words: Annotated[_Words, typer.Argument(metavar="[run|check]", help="check tries everything, runs nothing")] = None,
    config: Annotated[
        Optional[Path], typer.Option(help="settings file", show_default="config/local.yaml, else config/pilot.yaml")
    ] = None,
    source: Annotated[_Text, _option("--source", help="URI or path: csi://0, rtsp://..., clip.mp4, ...")] = None,
    wait: Annotated[_Switch, _option("--wait/--no-wait", help="wait for a camera that is not there yet")] = None,
    model: Annotated[_Text, _option("--model", help=".pt, .onnx or .engine, a path or a name")] = None,
    conf: Annotated[_Number, _option("--conf", help="confidence above which a vehicle counts, 0 to 1")] = None,
    iou: Annotated[_Number, _option("--iou", help="overlap above which two boxes are one vehicle, 0 to 1")] = None,
    record: Annotated[_Text, _option("--record", help="record to this .mp4, or into this folder")] = None,
    web: Annotated[_Text, _option("--web", help="serve the live page here: 127.0.0.1:8080")] = None,
    truth: Annotated[_Text, _option("--truth", help="write what was really there in a demo:// run, as JSONL")] = None,
    overwrite: Annotated[_Switch, _option("--overwrite", help="replace the files of --record and --truth")] = None,
    show: Annotated[_Switch, _option("--show/--no-show", help="show the annotated picture in a window")] = None,
    max_frames: Annotated[_Count, _option("--max-frames", help="end after so many frames")] = None,
    duration: Annotated[_Number, _option("--duration", help="end after so many seconds")] = None,
    require_engine: Annotated[
        _Switch, _option("--require-engine/--no-require-engine", help="an engine or nothing")
    ] = None,
    allow_cpu: Annotated[_Switch, _option("--allow-cpu/--no-allow-cpu", help="the CPU may serve")] = None,
    int8: Annotated[_Switch, _option("--int8/--no-int8", help="an INT8 engine may serve")] = None,
    fp16: Annotated[_Switch, _option("--fp16/--no-fp16", help="an FP16 engine may serve")] = None,
    doctor: Annotated[bool, typer.Option("--doctor", help="with check: what is wrong with this machine, too")] = False,
) -> None:
    """Do the job that `words` name with the settings of the flags, and exit with its code."""
    jobs, stop = context.obj
    named = Path(from_home(str(config))) if config else None
    flags = {key: (f"--{name.replace('_', '-')}", context.params[name]) for name, key in KEYS.items()}
    _leave(_do(jobs, " ".join(words or ["run"]), named, flags, stop, doctor))


def _do(
    jobs: Mapping[str, Job],
    action: str,
    named: Path | None,
    flags: Mapping[str, tuple[str, Any]],
    stop: StopFlag,
    doctor: bool,
) -> int:
    """Do a job and return its exit code; a PilotError becomes its sentence on stderr."""
    start_logging("INFO", None, 0)
    try:
        if action not in jobs:
            raise SettingsError(
                f"{redact_value(action)!r} is neither run nor check",
                "A source is given with --source, a model with --model.",
            )
        config = named or settings_path()
        if named is None and config == ROOT / LOCAL:
            logger.info(f"Settings: {LOCAL}, which goes before {SHIPPED}")
        found = _diagnose(action, config) if doctor else 0
        settings = load(config, flags)
        protect(settings, flags)
        text_bytes, _ = text_and_record_bytes(settings)
        written = settings.log.file and action == "run"  # a check by root must not leave a file that root owns
        log = start_logging(settings.log.level, settings.log_dir / "pilot.log" if written else None, text_bytes)
        return jobs[action](LiveSettings(settings, lambda: load(config, flags)), stop, log) or found
    except Stopped:
        return 0
    except PilotError as fault:
        for line in str(fault).splitlines():
            logger.error(line)
        return fault.exit_code
    except Exception as error:
        lack = lack_of_memory(error)
        if not lack:
            raise
        logger.error(f"Out of memory: {lack}. See what else takes it, then start again, as the service does by itself")
        return GpuError.exit_code  # on a Jetson the GPU's memory is the same, and so is the cure


def _diagnose(action: str, config: Path) -> int:
    """Print what the doctor finds. Return 1 where there is a problem."""
    from perception.doctor.command import diagnose

    if action != "check":
        raise SettingsError("--doctor goes with check alone", "Start it as: pilot.py check --doctor")
    return diagnose(config, sys.stdout)


def _leave(code: int) -> NoReturn:
    # The interpreter restores the default handlers at its end: a late second Ctrl-C would then change the exit code.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            # The pipe is closed or the disk full; the interpreter would try again at its end and exit with 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if threading.active_count() > 1:
        # A reader that hangs in a driver would block the interpreter's shutdown, or crash it.
        os._exit(code)
    sys.exit(code)
