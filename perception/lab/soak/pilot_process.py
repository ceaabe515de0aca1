"""A pilot as a process of its own, and the state of its source by its log."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from perception.core.errors import BackendError, PilotError, SettingsError, SourceError
from perception.reporting.lines import FRAME, SUMMARY_PATTERN
from perception.system.home import ROOT

STOP_S = 30.0
HIDDEN = ("JOURNAL_STREAM", "NOTIFY_SOCKET", "WATCHDOG_USEC")
"""Environment variables of a service that must not be handed on."""
_PAUSE = re.compile(r"Next attempt to open .* in ([\d.]+) s$")
_SUMMARY = re.compile(SUMMARY_PATTERN)
_HEAD = re.compile(r"^\S+ \S+ [A-Z]+ +")
_FAULTS: dict[int, type[PilotError]] = {fault.exit_code: fault for fault in (SourceError, BackendError)}


@dataclass
class Outage:
    """A source that was lost. Monotonic seconds; None while it has not happened. pause_s: the longest between attempts.

    back_at: when its next frame had been detected in.
    """

    lost_at: float
    back_at: float | None = None
    pause_s: float = 0.0


@dataclass
class PilotLog:
    """The state that the log shows. Written by one thread, read by another: each field is replaced, or only grows."""

    frames: int = 0
    first_frame_at: float | None = None
    live_since: float | None = None
    outages: list[Outage] = field(default_factory=list)
    summary: tuple[int, int] = (0, 0)  # frames and drops of the latest summary; the last one is of the whole run
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=12))
    _again: bool = False

    def read(self, lines: Iterable[str]) -> None:
        """Follow the log to its end."""
        for line in lines:
            self.take(line.rstrip("\n"), time.monotonic())

    def take(self, line: str, now: float) -> None:
        """Take the next line, which came at `now`."""
        if FRAME in line:
            self._frame(now)
            return
        self.last_lines.append(line)
        if re.search(r" (WARNING|ERROR|CRITICAL) ", line):
            self.warnings.append(line)
        if "Source lost after " in line:
            self.outages.append(Outage(now))
            self.live_since, self._again = None, False
        elif "Source live" in line:
            self._again = True
        elif (found := _PAUSE.search(line)) and self.outages and self.live_since is None:
            self.outages[-1].pause_s = max(self.outages[-1].pause_s, float(found[1]))
        elif found := _SUMMARY.search(line):
            self.summary = int(found[1]), int(found[2])

    def _frame(self, now: float) -> None:
        """Count a frame; it ends an outage only after "Source live", as one may have been under way before."""
        self.frames += 1
        self.first_frame_at = self.first_frame_at or now
        if self._again:
            self._again, self.live_since = False, now
            if self.outages:
                self.outages[-1].back_at = now


class PilotProcess:
    """A running pilot. A context manager, which ends it."""

    def __init__(self, folder: Path, uri: str, model: str, lasts_s: float, log_mib: int) -> None:
        """folder: for its settings and logs. lasts_s: after so long it ends by itself, whatever becomes of the soak."""
        folder.mkdir(parents=True, exist_ok=True)
        self.records = folder / "logs" / "frames.jsonl"
        self.log = PilotLog()
        settings = {
            "source": {"uri": uri},
            "model": {"weights": model},
            "allow_cpu": True,
            "cpu": {"threads": 1},
            "log": {"dir": str(folder / "logs"), "level": "DEBUG", "max_mib": log_mib},  # DEBUG tells the pauses
            "run": {"duration_s": lasts_s},
        }
        path = folder / "settings.yaml"
        path.touch(mode=0o600)  # the URI may hold a password
        path.write_text(json.dumps(settings, indent=1))  # JSON is YAML, too
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, str(ROOT / "pilot.py"), "--config", str(path)],
            env={name: value for name, value in os.environ.items() if name not in HIDDEN},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C at the terminal is for the soak
        )
        assert self._process.stderr
        self._listener = threading.Thread(target=self.log.read, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    def __enter__(self) -> PilotProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, negative for the signal that ended it."""
        return self._process.poll()

    def fault(self) -> PilotError:
        """Return why it did not come to its first frame, from the last line of its log."""
        code = self.exit_code
        said = _HEAD.sub("", self.log.last_lines[-1]) if self.log.last_lines else "it said nothing"
        how = "gave no frame" if code is None else f"ended with exit code {code}"
        return _FAULTS.get(code or 0, SettingsError)(f"The pilot {how} at its start: {said}")

    def stop(self) -> None:
        """Ask it to stop, and wait until its whole log is read; kill it where that takes too long."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        assert self._process.stderr
        self._process.stderr.close()
