"""`pilot.py check`: tries settings, model, backend and source without running, a verdict a line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from perception.app.sinks import Service, Sinks
from perception.app.stream import open_source
from perception.backends.models.model_files import find_model
from perception.camera.feed import POLL_S
from perception.core.classes import pick
from perception.core.errors import EndOfStream, PilotError, SettingsError, SourceError
from perception.core.redact import clean
from perception.reporting.logs import TextLog, claim_folder
from perception.settings.model import Settings
from perception.system.home import ROOT
from perception.system.lock import Lock
from perception.system.stop import StopFlag


def verdicts(settings: Settings, stop: StopFlag, log: TextLog, open_service: Callable[[Settings], Service]) -> int:
    """Print the verdicts on stdout. Return the exit code that a run would end with.

    Raises SettingsError where all is well but the verdicts cannot be written; a closed pipe (`| head -1`) is no fault.
    """
    attempts = {
        "settings": lambda: _check_outputs(settings, stop, log),
        "model": lambda: _check_model(settings),
        "backend": lambda: _check_backend(settings, open_service),
        "source": lambda: _check_source(settings, stop),
    }
    codes, unwritten = [], None
    for name, attempt in attempts.items():
        found, code = _tried(attempt)
        codes.append(code)
        try:
            print(f"{name:<9}{'problem' if code else 'ok':<9}{found}", flush=True)
        except BrokenPipeError:
            pass
        except OSError as error:
            unwritten = error
    code = next((code for code in codes if code), 0)
    if unwritten and not code:
        raise SettingsError(f"The verdicts cannot be written: {unwritten.strerror}", "Make room there.")
    return code


def _tried(attempt: Callable[[], str]) -> tuple[str, int]:
    """Return what was found, and the exit code."""
    try:
        return clean(attempt()), 0
    except PilotError as fault:
        return str(fault), fault.exit_code


def _check_outputs(settings: Settings, stop: StopFlag, log: TextLog) -> str:
    without_records = settings.model_copy(update={"log": settings.log.model_copy(update={"records": False})})
    with Sinks(without_records, stop, log):
        pass
    folder = settings.log_dir
    if settings.log.records or settings.log.file:
        lock = Lock()
        claim_folder(lock, folder)
        lock.release()
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        return f"valid; but {folder} cannot be written: a run would lose its logs and records"
    return f"valid; logs go to {folder}"


def _check_model(settings: Settings) -> str:
    files = find_model(settings.model.weights, ROOT, settings.engine_dir)
    return ", ".join(str(path) for path in (files.engine, *files.weights) if path)


def _check_backend(settings: Settings, open_service: Callable[[Settings], Service]) -> str:
    if settings.engine.when_missing == "export":  # takes minutes and memory: too much for a check
        engine = settings.engine.model_copy(update={"when_missing": "fallback"})
        try:
            found = _check_backend(settings.model_copy(update={"engine": engine}), open_service)
        except PilotError as fault:
            raise type(fault)(
                fault.what, f"{fault.cure} A run would try an export before, which check does not."
            ) from None
        return found if found.startswith("tensorrt") else f"{found}; a run would try an export before"
    with open_service(settings) as service:
        info = service.info
        return f"{info}. {pick(info.class_names, settings.classes).words(info.class_names)}"


def _check_source(settings: Settings, stop: StopFlag) -> str:
    """Open the source, and decode a frame of a finite one, as its file may hold none."""
    with open_source(settings.source) as source:
        label, waits = source.uri.label, settings.source.wait and source.uri.camera
        ends_at = time.monotonic() + settings.source.open_timeout_s
        while not source.is_open(POLL_S):
            if stop.requested:
                raise SourceError(f"{label}: asked to stop before it was open, so nothing is known of it")
            if waits and time.monotonic() >= ends_at:
                return f"{label} is not there yet: a run would wait for it"
        with suppress(EndOfStream):
            while not (source.uri.camera or stop.requested or source.read(POLL_S)):
                pass
        return label
