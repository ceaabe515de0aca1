"""The wait of a CPU backend's threads for work: they block, and leave the processor to others.

Threads that spin in between take the processor from whoever has work, the thread that they wait for included, as soon
as something else runs on the machine. docs/benchmarks.md has the figures.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
"""ACTIVE or PASSIVE: a variable of OpenMP (specification 5.2, 21.1.7), which counts for ONNX Runtime here, too."""


def spins() -> bool:
    """Return True if the pilot's environment asks for threads that spin; sets the same for OpenMP, loaded later."""
    return os.environ.setdefault(POLICY, "PASSIVE").upper() == "ACTIVE"
