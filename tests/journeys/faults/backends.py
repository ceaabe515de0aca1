"""Faults of what infers: numbers that are none, exceptions, a GPU that fails."""

from __future__ import annotations

import math
import re
from pathlib import Path

from tests.doubles import tiny_model
from tests.journeys.faults.faulty_pilot import FAULTS, GOOD_FRAMES
from tests.journeys.faults.lab import PATIENCE_S, Lab, Outcome, Pilot, Row
from tests.journeys.faults.local import CAMERA

FAULTY = str(Path(__file__).with_name("faulty_pilot.py"))


def flushed(lab: Lab, pilot: Pilot) -> None:
    """All that came before the fault is there, with the summary that every ending has."""
    seen = [int(found) for found in re.findall(r"\| frame (\d+) dropped", pilot.text())]
    assert lab.records() == seen
    assert len(seen) >= GOOD_FRAMES - 1  # one more may go into the warm-up
    assert "Latency over " in pilot.text()


def gpu_fails(lab: Lab) -> Outcome:
    """A CUDA error in the middle of a run."""
    with lab.pilot(CAMERA, script=(FAULTY, "gpu")) as pilot:
        found = pilot.ended("CUDA error in infer", "CUDA error 719")
        flushed(lab, pilot)
        return found


def infer_raises(lab: Lab) -> Outcome:
    """The run time gives up."""
    with lab.pilot(CAMERA, script=(FAULTY, "backend")) as pilot:
        found = pilot.ended("backend that gives up in infer", "cannot run the model")
        flushed(lab, pilot)
        return found


def infer_has_a_bug(lab: Lab) -> Outcome:
    """An exception that nobody thought of: the one thing that may show a traceback."""
    with lab.pilot(CAMERA, script=(FAULTY, "bug")) as pilot:
        code = pilot.process.wait(PATIENCE_S)
        flushed(lab, pilot)
        assert f"ZeroDivisionError: {FAULTS['bug']}" in pilot.lines()[-1]
        return Outcome("bug in a backend", pilot.lines()[-1], f"exit {code}")


NAN, INF = math.nan, math.inf
GOOD = (8.0, 16.0, 24.0, 32.0, 0.875, 2)
BAD = (
    (NAN, 16.0, 24.0, 32.0, 0.9, 2),
    (8.0, NAN, 24.0, 32.0, 0.9, 5),
    (8.0, 16.0, INF, 32.0, 0.9, 7),
    (-INF, 16.0, 24.0, 32.0, 0.9, 1),
    (8.0, 16.0, 24.0, 32.0, NAN, 3),
    (8.0, 16.0, 24.0, 32.0, INF, 3),
)


def infer_gives_no_numbers(lab: Lab) -> Outcome:
    """A network whose boxes and scores are NaN and infinities, next to one that is fine; both kinds of head."""
    for head in ("raw", "end2end"):
        model = tiny_model.build(lab.folder / f"{head}.onnx", head=head, boxes=(*BAD, GOOD))
        with lab.pilot(CAMERA, "--max-frames", "5", model={"weights": str(model)}, name=f"run-{head}") as pilot:
            found = pilot.ended(
                "NaN and infinities from the network, beside one vehicle", "no number (NaN or infinity). Its"
            )
    return found


ROWS: dict[Row, str] = {
    gpu_fails: "exit 5",
    infer_raises: "exit 4",
    infer_has_a_bug: "exit 1",
    infer_gives_no_numbers: "exit 4",
}
