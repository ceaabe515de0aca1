"""Tells the progress of a build: events for the parent of the stage, and TensorRT's own phases where it has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorrt as trt

Tell = Callable[[Mapping[str, Any]], None]
"""Takes one event: {"event": "progress", "what", "done", "of"}, {"event": "say", "text"} or {"event": "stage", "name"}.
"""
INTERVAL_S = 0.25
"""Between two events of one phase; TensorRT has thousands of steps."""


def say(tell: Tell, text: str) -> None:
    """Tell the user a sentence."""
    tell({"event": "say", "text": text})


def stage(tell: Tell, name: str) -> None:
    """Tell that a stage begins."""
    tell({"event": "stage", "name": name})


def step(tell: Tell, what: str, done: int, of: int) -> None:
    """Tell how far something is."""
    tell({"event": "progress", "what": what, "done": done, "of": of})


class Phases:
    """The phases of a build as events, one of each at most every INTERVAL_S. Called from any thread of TensorRT.

    clock: seconds that only rise.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[str, int] = {}
        self._told_at: dict[str, float] = {}

    def begin(self, name: str, steps: int) -> None:
        """A phase of so many steps has begun."""
        with self._lock:
            self._steps[name] = steps
            self._told_at[name] = self._clock()
            step(self._tell, name, 0, steps)

    def done(self, name: str, number: int) -> None:
        """Step `number`, counted from 0, is done."""
        with self._lock:
            steps = self._steps.get(name, number + 1)
            now = self._clock()
            if number + 1 < steps and now - self._told_at.get(name, 0.0) < INTERVAL_S:
                return
            self._told_at[name] = now
            step(self._tell, name, number + 1, steps)

    def end(self, name: str) -> None:
        """A phase is over, with or without all of its steps."""
        with self._lock:
            self._told_at.pop(name, None)
            steps = self._steps.pop(name, None)
            if steps is not None:
                step(self._tell, name, steps, steps)


def make_monitor(
    module: ModuleType, phases: Phases, goes_on: Callable[[], bool], keep: Callable[[BaseException], None]
) -> trt.IProgressMonitor | None:
    """Return a monitor for TensorRT's builder; None where it has no such thing (before 9.1).

    goes_on: True while the build is still wanted; else TensorRT ends it at the next step. keep: takes what a callback
    raised, which TensorRT would swallow.
    """
    if not hasattr(module, "IProgressMonitor"):
        return None

    class Monitor(module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()  # without this TensorRT crashes

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._kept(lambda: phases.begin(phase_name, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._kept(lambda: phases.done(phase_name, step))
            return goes_on()

        def phase_finish(self, phase_name: str) -> None:
            self._kept(lambda: phases.end(phase_name))

        def _kept(self, call: Callable[[], None]) -> None:
            try:
                call()
            except BaseException as interruption:
                keep(interruption)

    return Monitor()
