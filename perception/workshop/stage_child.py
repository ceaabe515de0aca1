"""The process of a stage: started so that it ends with its parent, listened to, and ended whole."""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from perception.system.home import ROOT
from perception.workshop.diagnosis import Ended

KEPT_LINES = 200
LONGEST_LINE = 65536
TURN_S = 0.2
END_S = 5.0
"""How long a child that was asked to end may take before it is killed."""
OOM_SCORE = 500
"""Of 1000: where memory runs out the kernel takes this process rather than the pilot or a shell."""
PR_SET_PDEATHSIG = 1
"""prctl(2)."""
LAUNCH = (
    # The current folder, which `-c` puts on the path, may hold anything, also another perception.
    "import sys; sys.path[:] = [sys.argv[1], *filter(None, sys.path)]; "
    "from perception.workshop.stage_child import launch; launch()"
)


def follow(
    module: str,
    paths: tuple[Path, ...],
    on_event: Callable[[Mapping[str, Any]], None],
    timeout_s: float | None,
    env: Mapping[str, str],
) -> Ended:
    """Runs `module` with `paths` as its arguments, until it has ended or `timeout_s` seconds are over.

    Nothing of it is left when this returns or raises.
    """
    before, started = _oom_kills(), time.monotonic()
    with _child(module, paths, env) as child:
        ears = _Ears(child, on_event)
        timed_out = ears.listen(None if timeout_s is None else started + timeout_s)
        if timed_out:
            _end(child)
        seconds, after = time.monotonic() - started, _oom_kills()
        kills = None if before is None or after is None else after - before
        return Ended(module, _status(child), seconds, timed_out, tuple(ears.lines), None, kills)


def launch() -> None:
    """The child's first steps, before anything heavy is imported. Arguments: root, parent's pid, module, its own."""
    parent, module = int(sys.argv[2]), sys.argv[3]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    _offer_to_oom_killer()
    sys.argv[1:] = sys.argv[4:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _offer_to_oom_killer() -> None:
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # no such thing in some containers: the kernel then chooses by size
        path.write_text(str(max(OOM_SCORE, int(path.read_text()))))


class _Ears:
    """Takes what a child prints: events from stdout, all else into `lines`, of which the last are kept."""

    def __init__(self, child: subprocess.Popen[bytes], on_event: Callable[[Mapping[str, Any]], None]) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._child = child
        self._on_event = on_event
        self._rest: dict[IO[bytes], bytes] = {pipe: b"" for pipe in (child.stdout, child.stderr) if pipe}

    def listen(self, deadline: float | None) -> bool:
        """Until the child has ended, or the deadline (monotonic, in s) is over: then True."""
        with selectors.DefaultSelector() as selector:
            for pipe in self._rest:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ)
            while self._child.poll() is None:
                if deadline is not None and time.monotonic() > deadline:
                    return True
                self._turn(selector)
            # What it started may hold the pipes open for ever: only what is there is read.
            while selector.get_map() and self._turn(selector):
                continue
        for pipe, rest in self._rest.items():
            self._take(pipe, rest)
        return False

    def _turn(self, selector: selectors.BaseSelector) -> bool:
        """Reads what comes within TURN_S; whether anything did."""
        if not selector.get_map():
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(TURN_S)
            return False
        ready = selector.select(TURN_S)
        for key, _ in ready:
            pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
            chunk = os.read(pipe.fileno(), LONGEST_LINE)
            if not chunk:
                selector.unregister(pipe)
            *whole, rest = (self._rest[pipe] + chunk).split(b"\n")
            self._rest[pipe] = rest[-LONGEST_LINE:]
            for line in whole:
                self._take(pipe, line)
        return bool(ready)

    def _take(self, pipe: IO[bytes], line: bytes) -> None:
        event = _event(line) if pipe is self._child.stdout else None
        if event is not None:
            self._on_event(event)
        elif text := line[:LONGEST_LINE].decode("utf-8", "replace").rstrip():
            self.lines.append(text.rpartition("\r")[2])  # of a bar that draws itself anew, how it looked last


def _event(line: bytes) -> Mapping[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


@contextmanager
def _child(module: str, paths: tuple[Path, ...], env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, in a session of its own, so that a Ctrl-C of the terminal reaches the parent alone."""
    words = [sys.executable, "-c", LAUNCH, str(ROOT), str(os.getpid()), module, *map(str, paths)]
    child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONFAULTHANDLER": "1", **env},
        start_new_session=True,
    )
    try:
        yield child
    finally:
        try:
            _end(child)
        finally:
            for pipe in (child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child and what it started: asked first, then killed. A second interruption kills at once."""
    try:
        if child.poll() is None:
            _signal(child, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
    finally:
        _signal(child, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # one that waits in a driver cannot even be killed
            child.wait(END_S)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _status(child: subprocess.Popen[bytes]) -> int:
    return -signal.SIGKILL if child.returncode is None else child.returncode


def _oom_kills() -> int | None:
    """How many processes the kernel has killed since boot for want of memory (/proc/vmstat)."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


class _Ending(BaseException):
    """A signal that ends this process came. No Exception, lest a caller's `on_event` take it for a fault."""


@contextmanager
def put_off() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block by an exception, and then do what they would have done.

    Only where they would end this process at once: a handler that is there knows what to do.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may install handlers
        yield
        return
    came: list[int] = []

    def arrived(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise _Ending

    ends: tuple[int, ...] = (signal.SIGTERM, signal.SIGHUP)
    ours = [number for number in ends if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, arrived)
    try:
        with suppress(_Ending):
            yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        for number in came[:1]:
            signal.raise_signal(number)
