"""Runs child processes that may crash, hang or print without end: each is followed, and ended with all it started."""

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
"""So much is kept of a line, and by CommandRunner of each output: the end of it."""
TURN_S = 0.2
KILL_S = 1.0
"""A process that waits in a driver cannot even be killed: it is given up after this time, or its `grace_s`."""
NO_ANSWER = "no answer within"
"""The beginning of the fault of a child that did not end in time."""


def signal_name(number: int) -> str:
    """Return SIGSEGV for 11, `signal 99` where there is no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Child:
    """A running command, in a session of its own. A context manager: nothing of the command is left at its end."""

    def __init__(
        self, command: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None,
        grace_s: float = 0.0, one_output: bool = False,
    ) -> None:  # fmt: skip
        """Start it. Raises OSError where it cannot be started, ValueError for a word with a null byte.

        grace_s: how long it may take to end after SIGTERM; 0 kills at once. one_output: stderr is written to stdout.
        A session of its own: a Ctrl-C of the terminal reaches the parent alone.
        """
        self._process = subprocess.Popen(  # noqa: S603 - no shell; the commands are our own
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if one_output else subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self._grace_s = grace_s
        self._selector = selectors.DefaultSelector()
        self._rest: dict[bool, bytes] = {}
        for pipe in self._pipes:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        finally:
            self._selector.close()
            for pipe in self._pipes:
                pipe.close()

    def follow(self, take: Callable[[bool, bytes], None], until: float | None) -> int | None:
        """Hand each line to `take` until the child has ended; return its exit status, -N for signal N.

        None where `until` (monotonic seconds) came first. take: gets True for stdout and False for stderr, and the line
        with its end; of a long line only the last LAST_BYTES may come. Others may hold the outputs open for ever:
        after the end only what is there is read.
        """
        while (code := self._process.poll()) is None:
            if until is not None and time.monotonic() > until:
                return None
            self._turn(take)
        while self._selector.get_map() and self._turn(take) and (until is None or time.monotonic() < until):
            continue
        for is_stdout, rest in self._rest.items():
            if rest:
                take(is_stdout, rest)
        self._rest.clear()
        return code

    def end(self) -> None:
        """End the child and what it started: asked first, then killed. A second interruption kills at once."""
        try:
            if self._grace_s and self._process.poll() is None:
                self._signal(signal.SIGTERM)
                self._wait(self._grace_s)
        finally:
            self.kill()
            self._wait(max(KILL_S, self._grace_s))

    def kill(self) -> None:
        """Kill the whole session, without waiting for its end; may be called in any thread."""
        self._signal(signal.SIGKILL)

    @property
    def _pipes(self) -> list[IO[bytes]]:
        return [pipe for pipe in (self._process.stdout, self._process.stderr) if pipe is not None]

    def _turn(self, take: Callable[[bool, bytes], None]) -> bool:
        """Read what comes within TURN_S; return True if anything did."""
        if not self._selector.get_map():
            self._wait(TURN_S)
            return False
        ready = self._selector.select(TURN_S)
        for key, _ in ready:
            chunk = os.read(key.fd, LAST_BYTES)
            if not chunk:
                self._selector.unregister(key.fileobj)
            is_stdout = key.fileobj is self._process.stdout
            *whole, rest = (self._rest.get(is_stdout, b"") + chunk).split(b"\n")
            self._rest[is_stdout] = rest[-LAST_BYTES:]
            for line in whole:
                take(is_stdout, line + b"\n")
        return bool(ready)

    def _wait(self, limit_s: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(limit_s)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a command. code: its exit status, -N for signal N, None where it did not end or did not start."""

    code: int | None
    out: str = ""
    err: str = ""
    fault: str = ""

    @property
    def why(self) -> str:
        """The reason, in words, for the lack of a good answer; empty for exit status 0."""
        if self.fault or self.code == 0:
            return self.fault
        if self.code is not None and self.code < 0:
            return f"it died of {signal_name(-self.code)}"
        lines = [line for line in self.err.splitlines() if line.strip()]
        return f"it ended with exit code {self.code}" + (f": {lines[-1].strip()}" if lines else "")


Runner = Callable[[Sequence[str], float], Answer]
"""Runs a command with a limit in seconds. Never raises."""


class CommandRunner:
    """Runs commands for several threads, in `folder`; `end` ends what still runs, and nothing is started after it."""

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._folder, self._environment = folder, environment
        self._running: set[Child] = set()
        self._ended = False
        self._lock = threading.Lock()

    def run(self, command: Sequence[str], limit_s: float) -> Answer:
        """Run `command`; after `limit_s` seconds it is killed with all that it started.

        Also returns where the child cannot be killed (it waits in a driver) or left its outputs open to others.
        """
        try:
            child = self._start(command)
        except FileNotFoundError:
            return Answer(None, fault=f"{command[0]} is not installed")
        except (OSError, ValueError) as fault:
            return Answer(None, fault=f"{command[0]} cannot be started: {fault}")
        kept = {True: b"", False: b""}

        def take(is_stdout: bool, line: bytes) -> None:
            kept[is_stdout] = (kept[is_stdout] + line)[-LAST_BYTES:]

        try:
            with child:
                code = child.follow(take, time.monotonic() + limit_s)
            if code is None:
                return Answer(None, fault=f"{NO_ANSWER} {limit_s:g} s")
            return Answer(code, kept[True].decode("utf-8", "replace"), kept[False].decode("utf-8", "replace"))
        finally:
            with self._lock:
                self._running.discard(child)

    def end(self) -> None:
        """Kill every child that runs."""
        with self._lock:
            self._ended = True
            for child in self._running:
                child.kill()

    def _start(self, command: Sequence[str]) -> Child:
        with self._lock:
            if self._ended:
                raise OSError("the doctor is leaving")
            child = Child(command, folder=self._folder, environment=self._environment)
            self._running.add(child)
        return child
