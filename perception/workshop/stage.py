"""Runs each stage of an export in a process of its own, whose memory is gone when it ends, and whose end tells why.

Parent and child talk JSON: the request and the result are files, and what happens meanwhile are lines on stdout:
{"event": "progress", "what": "calibration", "done": 12, "of": 355}, {"event": "say", "text": "..."},
{"event": "stage", "name": "..."}. The parent adds, of each stage that was through,
{"event": "usage", "stage": "build", "seconds": 161.2, "peak_mib": 1830.5}.
By hand: `python -m perception.workshop.build.build_stage REQUEST.json RESULT.json`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from perception.core import errors
from perception.core.errors import BuildError, ExportMemoryError, PilotError, SettingsError
from perception.system.plain_file import reason_of
from perception.system.reasons import lack_of_memory
from perception.system.signals import cleaned_up_first
from perception.system.trusted_file import write_whole
from perception.workshop.diagnosis import diagnose
from perception.workshop.progress import Tell
from perception.workshop.stage_child import Ended, follow

Event = Mapping[str, Any]
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors of a disk that is full, or takes nothing any more."""
TOLD = 3
"""Exit status of a child whose result is a fault in words."""


def run_stage(
    module: str,
    request: Mapping[str, Any],
    on_event: Callable[[Event], None],
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Mapping[str, Any]:
    """Run `module` in a child of its own and return its result.

    on_event: takes each event as it comes, in this thread. env: put on top of this process's own. folder: where request
    and result lie meanwhile, and afterwards `<stage>.log` with the child's last lines where it failed; None for a
    temporary one, and no log.

    Raises the PilotError that the child told; ExportMemoryError where it ended for lack of memory, in whichever
    disguise; BuildError where it crashed or was not through after `timeout_s` seconds. Whatever else interrupts
    (Ctrl-C, SIGTERM, an exception of `on_event`) ends the child with all that it started first, and is raised again.
    """
    temporary = tempfile.TemporaryDirectory(prefix="pilot-stage-") if folder is None else nullcontext(str(folder))
    with cleaned_up_first(), temporary as place:
        paths = tuple(Path(place) / f"{module.rpartition('.')[2]}.{name}.json" for name in ("request", "result"))
        try:
            write_whole(paths[0], json.dumps(request, default=os.fspath).encode())
            paths[1].unlink(missing_ok=True)
            ended = follow(module, paths, on_event, timeout_s, env or {})
            return _judge(ended, _read(paths[1]), on_event, folder)
        finally:
            for path in paths:
                path.unlink(missing_ok=True)


def _read(path: Path) -> Mapping[str, Any] | None:
    """Return the answer of a child, None where it gave none."""
    try:
        answer = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _judge(
    ended: Ended, answer: Mapping[str, Any] | None, on_event: Callable[[Event], None], folder: Path | None
) -> Mapping[str, Any]:
    if answer is not None and "result" in answer and not ended.timed_out:
        if ended.code:  # a driver that crashes while it is unloaded: the work is done
            on_event({"event": "say", "text": f"The {ended.name} stage was through, then it {ended.how}"})
        usage = {"stage": ended.name, "seconds": round(ended.seconds, 1), "peak_mib": answer.get("peak_mib")}
        on_event({"event": "usage", **usage})
        result: Mapping[str, Any] = answer["result"]
        return result
    error = None if answer is None else answer.get("error")
    if isinstance(error, dict):
        ended = replace(ended, error=error)
    log = _log(ended, folder)
    if trouble := diagnose(ended):
        raise (ExportMemoryError if trouble.kind == "memory" else BuildError)(trouble.what, trouble.cure)
    if ended.error is not None:
        raise _told(ended.error)
    raise _crash(ended, timed_out=ended.timed_out, log=log)


def _log(ended: Ended, folder: Path | None) -> Path | None:
    """Keep the last lines of a child that failed."""
    if folder is None or not ended.lines:
        return None
    path = folder / f"{ended.name}.log"
    write_whole(path, "".join(f"{line}\n" for line in ended.lines).encode("utf-8", "replace"))
    return path


def _told(error: Mapping[str, Any]) -> PilotError:
    """Return the fault that a child told, of its class there."""
    found = getattr(errors, str(error.get("kind")), None)
    kind = found if isinstance(found, type) and issubclass(found, PilotError) else BuildError
    return kind(str(error.get("what", "")), str(error.get("cure", "")))


def _crash(ended: Ended, timed_out: bool, log: Path | None) -> BuildError:
    where = f"What it printed last stands in {log}." if log else "Run it again; if it repeats, report it."
    if timed_out:
        return BuildError(f"The {ended.name} stage was not through after {ended.seconds / 60:.0f} minutes", where)
    said = f": {ended.last_line}" if ended.last_line else ""
    return BuildError(f"The {ended.name} stage {ended.how}{said}", where)


def serve(main: Callable[[dict[str, Any], Tell], Mapping[str, Any]]) -> NoReturn:
    """The child's side: reads the request, calls `main` with it, writes its result, and ends the process.

    A PilotError is told in words (exit status 3), a lack of memory as an ExportMemoryError; any other exception leaves
    its traceback. What libraries print meanwhile goes to stderr, so that events stand alone on stdout.
    """
    request_path, result_path = (Path(word) for word in sys.argv[1:3])
    emit = _emitter()
    answer, code = _answer(main, json.loads(request_path.read_bytes()), emit)
    write_whole(result_path, json.dumps(answer).encode())
    sys.exit(code)


def _answer(
    main: Callable[[dict[str, Any], Tell], Mapping[str, Any]], request: dict[str, Any], emit: Tell
) -> tuple[dict[str, Any], int]:
    try:
        return {"result": dict(main(request, emit)), "peak_mib": peak_mib()}, 0
    except PilotError as fault:
        return {"error": _in_words(fault)}, TOLD
    except Exception as fault:
        if isinstance(fault, OSError) and fault.errno in DISK:
            where = fault.filename or "A file"
            told = SettingsError(f"{where} cannot be written: {reason_of(fault)}", "Make room on the disk.")
            return {"error": _in_words(told)}, TOLD
        lack = lack_of_memory(fault)
        if not lack:
            raise
        error = ExportMemoryError(f"Memory could not be had: {lack}", "Stop what is not needed, then try again.")
        return {"error": _in_words(error)}, TOLD


def peak_mib() -> float | None:
    """Return the peak of resident memory of this process in MiB: VmHWM of proc(5); None where it is not told."""
    status = Path("/proc/self/status")
    match = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
    return round(int(match[1]) / 1024, 1) if match else None


def _in_words(fault: PilotError) -> dict[str, Any]:
    kind = next(kind for kind in type(fault).__mro__ if kind.__module__ == errors.__name__)
    return {"what": fault.what, "cure": fault.cure, "exit_code": fault.exit_code, "kind": kind.__name__}


def _emitter() -> Tell:
    """Write events to what was stdout; from now on stdout is stderr. For any thread."""
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def emit(event: Event) -> None:
        data = json.dumps(event).encode() + b"\n"
        with lock:
            while data:
                data = data[os.write(out, data) :]

    return emit
