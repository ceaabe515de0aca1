"""Runs a command that may crash, hang or print without end, and comes back in time."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LAST_BYTES = 65536
"""Of each output so much is kept, from its end."""
POLL_S = 0.05
NO_ANSWER = "no answer within"
"""How the fault of a child begins that did not end in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended. code: its exit status, -N for signal N, None where it did not end or did not start."""

    code: int | None
    out: str = ""
    err: str = ""
    fault: str = ""

    @property
    def why(self) -> str:
        """In words, why there is no good answer; empty for exit status 0."""
        if self.fault or self.code == 0:
            return self.fault
        if self.code is not None and self.code < 0:
            return f"it died of {signal_name(-self.code)}"
        lines = [line for line in self.err.splitlines() if line.strip()]
        return f"it ended with exit code {self.code}" + (f": {lines[-1].strip()}" if lines else "")


Runner = Callable[[Sequence[str], float], Answer]
"""Runs a command with a limit in seconds. Never raises."""


def signal_name(number: int) -> str:
    """SIGSEGV for 11, `signal 99` where there is no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Children:
    """Runs commands for several threads, in `folder`; `end` ends what still runs, and nothing is started after it."""

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = None if environment is None else dict(environment)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False
        self._lock = threading.Lock()

    def run(self, command: Sequence[str], limit_s: float) -> Answer:
        """Runs `command` in a session of its own; after `limit_s` seconds the whole session is killed.

        Also comes back where the child cannot be killed (it waits in a driver) or left its outputs open to others.
        """
        try:
            child = self._start(command)
        except FileNotFoundError:
            return Answer(None, fault=f"{command[0]} is not installed")
        except (OSError, ValueError) as fault:
            return Answer(None, fault=f"{command[0]} cannot be started: {fault}")
        try:
            return _follow(child, time.monotonic() + limit_s, limit_s)
        finally:
            _end(child)
            with self._lock:
                self._running.discard(child)

    def end(self) -> None:
        """Kills every child that runs."""
        with self._lock:
            self._ended = True
            for child in self._running:
                _kill(child)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ended:
                raise OSError("the doctor is leaving")
            child = subprocess.Popen(  # noqa: S603 - no shell; the commands are the doctor's own
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
            self._running.add(child)
        return child


def _follow(child: subprocess.Popen[bytes], deadline: float, limit_s: float) -> Answer:
    """Reads both outputs until the child has ended or the time is over."""
    assert child.stdout is not None
    assert child.stderr is not None
    kept = {child.stdout: b"", child.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
        while child.poll() is None and time.monotonic() < deadline:
            _read_ready(selector, kept)
        if child.returncode is None:
            return Answer(None, fault=f"{NO_ANSWER} {limit_s:g} s")
        while selector.get_map() and _read_ready(selector, kept) and time.monotonic() < deadline:
            continue
    out, err = (kept[pipe].decode("utf-8", "replace") for pipe in (child.stdout, child.stderr))
    return Answer(child.returncode, out, err)


def _read_ready(selector: selectors.BaseSelector, kept: dict[IO[bytes], bytes]) -> bool:
    """Takes what has come; whether anything has."""
    if not selector.get_map():
        time.sleep(POLL_S)
        return False
    ready = selector.select(POLL_S)
    for key, _ in ready:
        pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
        chunk = os.read(pipe.fileno(), LAST_BYTES)
        if chunk:
            kept[pipe] = (kept[pipe] + chunk)[-LAST_BYTES:]
        else:
            selector.unregister(pipe)
    return bool(ready)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    _kill(child)
    with suppress(subprocess.TimeoutExpired):
        child.wait(1.0)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
