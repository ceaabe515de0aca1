"""The cost of a CPU backend's threads that spin or block while they wait: idle, and beside busy processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

CHILD = "perception.lab.benchmark.wait_child"
WAYS = ("spin", "block")
SETTLE_S = 0.05
"""Spinning threads go on for a while after their work, and would take the next one's processor."""


def measure(root: Path, models: Sequence[Path], rounds: int, busy: int) -> Mapping[str, list[float]]:
    """Return the milliseconds of a run by model, way and load; both ways run in turn, each in a process of its own.

    busy: processes that compute without a pause, in the second half.
    """
    times: dict[str, list[float]] = {}
    for model in models:
        with ExitStack() as stack:
            children = {way: stack.enter_context(_child(root, model, way)) for way in WAYS}
            for load in (0, busy):
                with ExitStack() as loads:
                    for _ in range(load):
                        loads.enter_context(_burner())
                    for _ in range(rounds):
                        for way, child in children.items():
                            name = f"{model.name}, {f'{load} busy' if load else 'idle'}, {way}"
                            times.setdefault(name, []).append(_run(child))
    return times


def _run(child: subprocess.Popen[str]) -> float:
    assert child.stdin
    assert child.stdout
    time.sleep(SETTLE_S)
    child.stdin.write("\n")
    child.stdin.flush()
    return float(child.stdout.readline())


@contextmanager
def _child(root: Path, model: Path, way: str) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", CHILD, str(model.absolute()), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env=environment,
    ) as child:
        assert child.stdin
        assert child.stdout
        try:
            if child.stdout.readline() != "ready\n":
                raise RuntimeError(f"{model} could not be opened")
            yield child
        finally:
            child.stdin.close()


@contextmanager
def _burner() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        try:
            yield
        finally:
            burner.kill()
