"""Runs a stage in a process that ends with its parent, follows it, and tells how it ended."""

from __future__ import annotations

import ctypes
import json
import os
import re
import runpy
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from perception.system.home import ROOT
from perception.system.process import LAST_BYTES, Child, signal_name

KEPT_LINES = 200
END_S = 5.0
"""The time that a child may take to end before it is killed."""
OOM_SCORE = 500
"""Of 1000: where memory runs out the kernel takes this process rather than the pilot or a shell."""
FATAL = "Fatal Python error"
"""The beginning of the report of a crash in native code, which tells where it was and not why."""
TRACEBACK_END = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
PR_SET_PDEATHSIG = 1
"""prctl(2)."""
LAUNCH = (
    # The current folder, which `-c` puts on the path, may hold anything, also another perception.
    "import sys; sys.path[:] = [sys.argv[1], *filter(None, sys.path)]; "
    "from perception.workshop.stage_child import launch; launch()"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a stage's child.

    stage: its module. code: exit status, -N for signal N. seconds: how long it ran. timed_out: it was ended because its
    time was up. lines: what it printed last, oldest first. error: the fault that it told in words: what, cure,
    exit_code, kind. oom_kills: number of processes that the kernel has killed meanwhile for lack of memory, None where
    that cannot be told.
    """

    stage: str
    code: int
    seconds: float = 0.0
    timed_out: bool = False
    lines: tuple[str, ...] = ()
    error: Mapping[str, Any] | None = None
    oom_kills: int | None = None

    @property
    def name(self) -> str:
        """One word for the stage: `build` for perception.workshop.build.build_stage."""
        return self.stage.rpartition(".")[2].removesuffix("_stage")

    @property
    def how(self) -> str:
        """The end, in words."""
        return f"died of {signal_name(-self.code)}" if self.code < 0 else f"ended with exit code {self.code}"

    @property
    def last_line(self) -> str:
        """The line that says most: the end of the last traceback, else the last one that was printed."""
        told = [line.strip() for line in takewhile(lambda line: not line.startswith(FATAL), self.lines) if line.strip()]
        ends = [line for line in told if TRACEBACK_END.match(line)]
        return next(reversed(ends), next(reversed(told), ""))


def follow(
    module: str,
    paths: tuple[Path, ...],
    on_event: Callable[[Mapping[str, Any]], None],
    timeout_s: float | None,
    env: Mapping[str, str],
) -> Ended:
    """Run `module` with `paths` as its arguments, until it has ended or `timeout_s` seconds are over.

    Nothing of it is left when this returns or raises.
    """
    lines: deque[str] = deque(maxlen=KEPT_LINES)

    def take(is_stdout: bool, line: bytes) -> None:
        """Tell an event of stdout; all else goes to `lines`."""
        event = _event(line) if is_stdout else None
        if event is not None:
            on_event(event)
        elif text := line[:LAST_BYTES].decode("utf-8", "replace").rstrip():
            lines.append(text.rpartition("\r")[2])  # of a bar that draws itself anew, how it looked last

    before, started = _oom_kills(), time.monotonic()
    words = [sys.executable, "-c", LAUNCH, str(ROOT), str(os.getpid()), module, *map(str, paths)]
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1", **env}
    with Child(words, environment=environment, grace_s=END_S) as child:
        code = child.follow(take, None if timeout_s is None else started + timeout_s)
    seconds, after = time.monotonic() - started, _oom_kills()
    kills = None if before is None or after is None else after - before
    return Ended(module, -signal.SIGKILL if code is None else code, seconds, code is None, tuple(lines), None, kills)


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


def _event(line: bytes) -> Mapping[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _oom_kills() -> int | None:
    """Return the number of processes that the kernel has killed since boot for lack of memory (/proc/vmstat)."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None
