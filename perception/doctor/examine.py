"""The table of all checks, and how they are run: side by side, so that none that hangs holds up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from perception.doctor.checks import builds, cameras, engines, host, jetpack, memory, power, python, runtime, systemd
from perception.doctor.checks.machine import Machine
from perception.doctor.finding import Check, Finding, Result, Verdict, unknown

DEADLINE_S = 13.0
"""More than a probe and a command take together, less than the 15 s that the user is asked to wait."""
JETSON = "jetson"

CHECKS: tuple[Check, ...] = (
    Check("jetpack", "JetPack", jetpack.jetpack, JETSON),
    Check("l4t-packages", "L4T packages", jetpack.l4t_packages, JETSON),
    Check("known-faults", "known faults", jetpack.known_faults, JETSON),
    Check("python", "Python", python.interpreter),
    Check("packages", "packages", python.packages),
    Check("numpy", "numpy", python.numpy),
    Check("opencv", "OpenCV", python.opencv),
    Check("cuda", "CUDA", runtime.cuda),
    Check("tensorrt", "TensorRT", runtime.tensorrt),
    Check("dla", "DLA compiler", jetpack.dla, JETSON),
    Check("pycuda", "PyCUDA", runtime.pycuda),
    Check("nvcc", "nvcc", runtime.nvcc, JETSON),
    Check("torch", "torch", runtime.torch),
    Check("settings", "settings", host.settings),
    Check("engines", "engines", engines.engines),
    Check("leftovers", "leftovers", builds.leftovers),
    Check("calibration", "calibration set", builds.calibration),
    Check("cameras", "cameras", cameras.cameras),
    Check("camera-holders", "camera in use by", cameras.camera_holders),
    Check("argus", "Argus", cameras.argus, JETSON),
    Check("groups", "groups", cameras.groups),
    Check("memory", "memory", memory.memory),
    Check("largest-block", "free blocks", memory.largest_block, JETSON),
    Check("swap", "swap", memory.swap),
    Check("gpu-users", "GPU in use by", memory.gpu_users),
    Check("desktop", "desktop", memory.desktop, JETSON),
    Check("power-mode", "power mode", power.power_mode, JETSON),
    Check("clocks", "clocks", power.clocks, JETSON),
    Check("throttling", "throttling", power.throttling, JETSON),
    Check("temperatures", "temperatures", power.temperatures, JETSON),
    Check("disk", "disk", host.disk),
    Check("clock", "clock", host.clock),
    Check("service", "service", systemd.service),
    Check("jtop", "jtop", systemd.jtop, JETSON),
)
"""All checks, in the order of the report."""


def examine(machine: Machine, checks: Sequence[Check], deadline_s: float = DEADLINE_S) -> list[Result]:
    """Return the findings of all checks that apply to this machine, in the order of the table.

    A check that raises, or has not ended after `deadline_s` seconds, becomes a finding `cannot tell`. A thread that
    hangs (a dead network disk) is left behind: it is a daemon.
    """
    found: dict[str, list[Finding]] = {}

    def run(check: Check) -> None:
        found[check.name] = findings_of(check, machine)

    fitting = [check for check in checks if check.on == "any" or machine.is_jetson]
    threads = [threading.Thread(target=run, args=(check,), name=check.name, daemon=True) for check in fitting]
    deadline = time.monotonic() + deadline_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    hangs = [unknown(f"not through after {deadline_s:g} s: something that it reads hangs")]
    return [Result(check, finding) for check in fitting for finding in found.get(check.name, hangs)]


def findings_of(check: Check, machine: Machine) -> list[Finding]:
    """Return the findings of one check; an exception becomes `cannot tell`, with its name."""
    try:
        return list(check.find(machine)) or [unknown("the check gave no finding")]
    except Exception as fault:  # a check that fails must not stop the others
        return [unknown(f"the check itself failed: {type(fault).__name__}: {fault}", "Report it, with --json's output")]


def exit_code(results: Sequence[Result]) -> int:
    """Return 1 if a finding is a problem, else 0: warnings and `cannot tell` are none."""
    return int(any(result.finding.verdict is Verdict.PROBLEM for result in results))
