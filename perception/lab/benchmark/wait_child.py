"""A process that runs one model when it is told to: `python -m perception.lab.benchmark.wait_child MODEL WAY`.

WAY is `spin`, as the libraries come, or `block`, as the pilot uses them. Each line on stdin is one run, whose
milliseconds are the line on stdout.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from perception.backends.session import Session

SIDE = 640


def open_session(model: Path, way: str) -> Session:
    """Open the model as the pilot does, or with threads that wait as the library has it."""
    if way == "spin":
        os.environ["OMP_WAIT_POLICY"] = "ACTIVE"
    if model.suffix == ".onnx":
        from perception.backends.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(model, SIDE, 0)
    if way == "spin":
        del os.environ["OMP_WAIT_POLICY"]
        import torch  # noqa: F401 - its OpenMP reads the variable now, before the session sets it
    from perception.backends.pytorch import PyTorchSession

    return PyTorchSession(model, SIDE, 0, "cpu")


def main(model: str, way: str) -> None:
    """Run until stdin ends."""
    session = open_session(Path(model), way)
    tensor = np.zeros((1, 3, *session.input_hw), session.dtype)
    for _ in range(3):
        session.run(tensor)
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        session.run(tensor)
        print((time.perf_counter() - started) * 1000, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
