"""A lab for faults: a folder, a model, and pilots as real processes that are watched from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.system.home import ROOT
from tests.camera.servers import RtspServer

PATIENCE_S = 60.0
"""For anything to happen on a machine that is busy; nothing here asserts on a time."""
FRAME = "Vehicle detection: "
RECOVERED = "recovered; asked to stop: exit 0"
GOES_ON = "goes on; asked to stop: exit 0"
STEP_S = 2.0
"""Design: after a recoverable fault frames flow again within the back-off and so much more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the table. saw: the line that told the user. ending: what became of the run, with its exit code.

    recovery_s: from the end of the fault to the next frame; allowed_s: the longest pause between two attempts in that
    run, and STEP_S; None where there was no recovery.
    """

    injected: str
    saw: str
    ending: str
    recovery_s: float | None = None
    allowed_s: float | None = None


class Pilot:
    """A pilot that runs. Its output goes to files, so that nobody has to drain it."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._stderr = folder / "stderr.txt"
        with self._stderr.open("wb") as stderr, (folder / "stdout.txt").open("wb") as stdout:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr)

    def text(self) -> str:
        """All that it said on stderr so far."""
        return self._stderr.read_text(errors="replace")

    def lines(self) -> list[str]:
        """Its messages so far, without time and level."""
        return [re.sub(r"^\S+ \S+ [A-Z]+ +", "", line) for line in self.text().splitlines()]

    def wait_for(self, words: str, after: int = 0) -> str:
        """The first line at or after number `after` that holds the words."""

        def find() -> str:
            return next((line for line in self.lines()[after:] if words in line), "")

        return str(until(find, f"{words!r} in {self.folder}", self))

    def wait_for_frames(self, count: int = 1) -> None:
        """Waits for so many more frames than there are now."""
        seen = len(self.lines())
        until(lambda: sum(FRAME in line for line in self.lines()[seen:]) >= count, f"{count} frames", self)

    def recovered(self, injected: str, words: str, since: float) -> Outcome:
        """The outcome of a fault that was over at `since` (monotonic s), once a frame has come and it was stopped.

        words: of what it said.
        """
        self.wait_for_frames()
        took_s = time.monotonic() - since
        pauses = [float(found) for found in re.findall(r"Next attempt to open .* in ([\d.]+) s", self.text())]
        said, allowed_s = self.wait_for(words), max(pauses, default=0.0) + STEP_S
        return Outcome(injected, said, f"recovered; {self.stopped()}", took_s, allowed_s)

    def stopped(self) -> str:
        """How it ends when it is asked to, in words."""
        return f"asked to stop: exit {self.end()}"

    def end(self) -> int:
        """Asks it to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def ended(self, injected: str, words: str) -> Outcome:
        """The outcome of a fault that ends the run by itself: a short text without a traceback, with `words` in it."""
        code = self.process.wait(PATIENCE_S)
        text = self.text()
        assert "Traceback" not in text, text
        said = [line for line in self.lines() if FRAME not in line and words in line]
        assert said, text
        return Outcome(injected, said[-1], f"exit {code}")


class Lab:
    """One experiment: a folder of its own, and whatever was started for it is ended with it."""

    def __init__(self, folder: Path, material: Path) -> None:
        """material: a folder with tiny.onnx."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.material = material
        self.logs = folder / "logs"

    def settings(self, uri: str, **keys: Any) -> dict[str, Any]:
        """Settings for the tiny model; keys by name go over a section's own."""
        values: dict[str, Any] = {
            "source": {"uri": uri, "stall_s": 1.0, "open_timeout_s": 3.0},
            "model": {"weights": str(self.material / "tiny.onnx")},
            "allow_cpu": True,
            "cpu": {"threads": 1},
            "log": {"dir": str(self.logs), "level": "DEBUG", "warmup_frames": 1},
        }
        for key, value in keys.items():
            values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
        return values

    @contextmanager
    def pilot(
        self,
        uri: str,
        *arguments: str,
        python: str = sys.executable,
        script: Sequence[str] = (str(ROOT / "pilot.py"),),
        before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        name: str = "pilot",
        **keys: Any,
    ) -> Iterator[Pilot]:
        """A pilot on the source `uri`; before: the words of a command that starts it."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "settings.yaml").write_text(json.dumps(self.settings(uri, **keys)))  # JSON is YAML, too
        hidden = ("JOURNAL_STREAM", "NOTIFY_SOCKET", "WATCHDOG_USEC")
        inherited = {key: value for key, value in os.environ.items() if key not in hidden}
        command = [*before, python, *script, "--config", "settings.yaml", *arguments]
        pilot = Pilot(command, folder, {**inherited, **(environment or {})})
        try:
            yield pilot
        finally:
            pilot.process.kill()
            pilot.process.wait()

    @contextmanager
    def server(self, *options: str) -> Iterator[RtspServer]:
        """An RTSP server, ten pictures a second."""
        server = RtspServer("--fps", "10", *options)
        try:
            yield server
        finally:
            server.kill()

    def records(self, whole: bool = True) -> list[int]:
        """The frame ids of every record; without `whole` the last line may be cut off."""
        lines = (self.logs / "frames.jsonl").read_text().split("\n")
        last = lines.pop()
        assert last == "" or not whole, last
        return [parse_record(line)["frame_id"] for line in lines]


Row = Callable[[Lab], Outcome]
"""Injects one fault."""
Needs = Mapping[Row, tuple[str, ...]]
"""The tools that a row needs, of tests/needs.py."""


def parse_record(line: str) -> dict[str, Any]:
    """A record, read as strictly as JSON is written: Python's own reader lets NaN pass."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    record: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return record


def until(condition: Callable[[], Any], what: str, pilot: Pilot | None = None) -> Any:
    """What the condition gives, once that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        said = pilot.text()[-3000:] if pilot else ""
        assert time.monotonic() < deadline, f"waited in vain for {what}\n{said}"
        time.sleep(0.01)
    return found
