"""The cost of a neighbour to detection: a pilot alone and beside it in turn, in one run.

The pilot has one core and one thread of ONNX Runtime, the neighbour, niced, another core.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from perception.core.errors import BackendError
from perception.reporting.lines import FRAME, PAGE_PATTERN

SETTLING_S = 1.5
"""After a neighbour comes or goes, before frames count."""
START_S = 60.0
Span = tuple[float, float]
Neighbour = Callable[[str], AbstractContextManager[None]]
"""Given the URL of the pilot's page, it is there for the length of the block."""


@dataclass(frozen=True, slots=True)
class Costs:
    """total_ms of the frames of both kinds of spans."""

    alone_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PilotSetup:
    """The checkout, a folder for the pilot's files, its model and its core; `settings` are further YAML."""

    root: Path
    folder: Path
    weights: str
    core: int
    settings: str = ""


def measure(setup: PilotSetup, neighbour: Neighbour, rounds: int, seconds: float) -> Costs:
    """Measure each round alone and beside the neighbour, for `seconds` each.

    BackendError where the pilot does not start or ends early.
    """
    alone: list[Span] = []
    beside: list[Span] = []
    with _pilot(setup) as url:
        time.sleep(2 * SETTLING_S)
        for _ in range(rounds):
            alone.append(_span(seconds))
            with neighbour(url):
                beside.append(_span(seconds))
    frames = list(_frames(setup.folder / "frames.jsonl"))
    return Costs(_within(frames, alone), _within(frames, beside))


def niced(core: int, script: str, *arguments: str) -> list[str]:
    """Return the command that runs a script of ours on a core of its own, behind the pilot."""
    return ["nice", "-n", "19", "taskset", "-c", str(core), sys.executable, script, *arguments]


def _span(seconds: float) -> Span:
    time.sleep(SETTLING_S)
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def _within(frames: list[tuple[float, float]], spans: list[Span]) -> list[float]:
    """Return the times of the frames that lie in one of the spans as a whole."""
    return [ms for at, ms in frames if any(began + ms / 1000 <= at <= ended for began, ended in spans)]


def _frames(path: Path) -> Iterator[tuple[float, float]]:
    """Yield Unix seconds and total_ms of each record."""
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        yield datetime.fromisoformat(record["ts"]).timestamp(), record["total_ms"]


@contextmanager
def _pilot(setup: PilotSetup) -> Iterator[str]:
    folder = setup.folder
    (folder / "x.yaml").write_text(
        "source: {uri: 'demo://drive?seed=14&vehicles=8&duration=20&loop=1'}\n"
        f"model: {{weights: '{setup.weights}'}}\nallow_cpu: true\ncpu: {{threads: 1}}\n"
        f"log: {{dir: '{folder}', max_mib: 1024}}\nweb: {{bind: '127.0.0.1:0'}}\n{setup.settings}"
    )
    command = [
        "taskset",
        "-c",
        str(setup.core),
        sys.executable,
        str(setup.root / "pilot.py"),
        "--config",
        str(folder / "x.yaml"),
    ]
    with open(folder / "stderr", "wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)  # noqa: S603 - the command above
    try:
        yield _url(process, folder / "stderr")
        if process.poll() is not None:
            raise BackendError(f"The pilot ended early: {_last_line(folder / 'stderr')}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the URL of the page, once the first frame was processed."""
    ends_at = time.monotonic() + START_S
    while time.monotonic() < ends_at and process.poll() is None:
        text = log.read_text(encoding="utf-8", errors="replace")
        if (said := re.search(PAGE_PATTERN, text)) and FRAME in text:
            return said[1]
        time.sleep(0.2)
    raise BackendError(f"The pilot did not start: {_last_line(log)}")


def _last_line(log: Path) -> str:
    return (log.read_text(encoding="utf-8", errors="replace").splitlines() or ["it said nothing"])[-1]
