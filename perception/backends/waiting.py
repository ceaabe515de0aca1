"""How the threads of a CPU backend wait for their next piece of work: they block, and leave the processor to others.

Threads that spin in between take the processor from whoever has work, the thread that they wait for included, as soon
as something else runs on the machine. docs/benchmarks.md has the figures.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
"""ACTIVE or PASSIVE: a variable of OpenMP (specification 5.2, 21.1.7), which counts for ONNX Runtime here, too."""


def spins() -> bool:
    """Whether threads shall spin: where whoever started the pilot says so. OpenMP, yet to be loaded, hears the same."""
    return os.environ.setdefault(POLICY, "PASSIVE").upper() == "ACTIVE"
