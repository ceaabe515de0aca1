"""Checks what could stop an export before anything is loaded; each finding has its cure."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from perception.board import sysfs
from perception.core.errors import ExportMemoryError
from perception.doctor import examine as doctor
from perception.doctor.checks import jetpack, memory, power, runtime
from perception.doctor.checks.machine import UNIT, Machine, this_machine
from perception.doctor.checks.memory import EXPORT_MIB
from perception.doctor.checks.processes import Process, processes
from perception.doctor.examine import JETSON
from perception.doctor.finding import Check, Finding, Result, ok, problem, unknown, warning
from perception.system.home import ROOT, settings_path
from perception.system.process import CommandRunner
from perception.workshop.build.workspace import LEAST_WORKSPACE_MIB, workspaces

BUILDER_MIB = EXPORT_MIB - LEAST_WORKSPACE_MIB
"""The need of a build of a small detector besides its workspace, on a Jetson CPU and GPU together: libraries, kernels,
weights, layers. An estimate, on the safe side; where a larger model needs more, less workspace is tried.
"""
GPU_MIB = 768
"""The GPU's part of it, which cannot be swapped out."""
DISK_MIB = 512
"""ONNX file, engine, the engine before it, caches."""
ZRAM_WORTH = 0.5
"""A page that goes into zram still takes about half of its size, of the same memory."""
STOPS = ("export-memory", "export-gpu-memory", "export-disk")
"""The findings that an export does not start with, unless it is forced to."""
STOP_PILOT = "sudo systemctl stop vehicle-pilot   (afterwards: sudo systemctl start vehicle-pilot)"
MAKE_ROOM = (
    "Stop the pilot and the desktop (sudo systemctl stop vehicle-pilot; sudo systemctl isolate multi-user.target), or "
    "reboot and export first of all; see also the line on swap"
)


def look_around(output: Path, workspace_mib: int, device: int = 0) -> list[Result]:
    """Return the findings on this machine; see `examine`."""
    commands = CommandRunner(ROOT)
    machine = this_machine(ROOT, settings_path(), sys.executable, commands.run)
    try:
        return examine(machine, output, workspace_mib, device)
    finally:
        commands.end()


def examine(machine: Machine, output: Path, workspace_mib: int, device: int = 0) -> list[Result]:
    """Return the findings for an export into the folder `output`; doctor/report.text_lines prints them.

    workspace_mib: scratch memory that the builder may use. device: which GPU, as CUDA counts. Nothing raises: what
    cannot be looked at is a finding, too.
    """
    checks = (
        Check("export-memory", "memory", lambda it: _memory(it, workspace_mib)),
        Check("export-gpu-memory", "GPU memory", lambda it: _gpu_memory(it, workspace_mib, device)),
        Check("largest-block", "free blocks", memory.largest_block, JETSON),
        Check("swap", "swap", memory.swap),
        Check("cuda", "CUDA", runtime.cuda),
        Check("export-pilot", "pilot", _pilot),
        Check("gpu-users", "GPU in use by", memory.gpu_users),
        Check("desktop", "desktop", memory.desktop, JETSON),
        Check("known-faults", "known faults", _known_faults, JETSON),
        Check("export-disk", "disk", lambda it: _disk(it, output)),
        Check("power-mode", "power mode", power.power_mode, JETSON),
        Check("throttling", "throttling", power.throttling, JETSON),
    )
    return doctor.examine(machine, checks)


def verdict(results: Sequence[Result], force: bool) -> None:
    """Raise ExportMemoryError where memory or disk will not do for an export, unless `force`."""
    stops = [result.finding for result in results if result.finding.code in STOPS]
    if stops and not force:
        what = "; ".join(finding.found for finding in stops)
        raise ExportMemoryError(f"No export is begun: {what}", f"{stops[0].cure}. --force begins it all the same.")


def _memory(machine: Machine, workspace_mib: int) -> Iterator[Finding]:
    """Memory of the host, which on a Jetson is the GPU's, too."""
    now = sysfs.memory(machine.root)
    if now.available_mib is None:
        yield unknown("/proc/meminfo does not tell")
        return
    shared = machine.is_jetson
    scratch_mib = workspace_mib if shared else 0
    least_mib = BUILDER_MIB + (min(workspace_mib, LEAST_WORKSPACE_MIB) if shared else 0)
    swap_mib = _swap_mib(machine)
    text = f"{now.available_mib:.0f} MiB available" + (f", and swap for {swap_mib:.0f}" if swap_mib else "")
    if now.available_mib + swap_mib < least_mib or (shared and now.available_mib < GPU_MIB + LEAST_WORKSPACE_MIB):
        yield problem("export-memory", f"{text}: an export needs at least {least_mib} MiB", MAKE_ROOM)
    elif now.available_mib < BUILDER_MIB + scratch_mib:
        scratch = f" with a workspace of {workspace_mib} MiB" if shared else ""
        wants = f"{text}: an export{scratch} may take {BUILDER_MIB + scratch_mib}"
        cure = _smaller(now.available_mib - BUILDER_MIB, workspace_mib) if shared else MAKE_ROOM
        yield warning("export-memory-tight", wants, cure)
    else:
        yield ok(f"{text}, an export takes {BUILDER_MIB + scratch_mib} at most")


def _smaller(room_mib: float, workspace_mib: int) -> str:
    """Return the cure: the largest workspace that fits, of those that are tried."""
    steps = workspaces(workspace_mib)
    step = next((step for step in steps if step <= room_mib), steps[-1])
    if step == workspace_mib:
        return MAKE_ROOM
    return f"--workspace {step / 1024:g}; or stop the pilot and the desktop for the build"


def _swap_mib(machine: Machine) -> float:
    """Return the memory that swapping can free, by /proc/swaps (proc(5)): what is free there, zram at ZRAM_WORTH."""
    freed = 0.0
    for line in (machine.read("proc/swaps") or "").splitlines()[1:]:
        match = re.match(r"(\S+)\s+\S+\s+(\d{1,15})\s+(\d{1,15})\s", line)
        if match:
            worth = ZRAM_WORTH if "zram" in match[1] else 1.0
            freed += worth * max(0, int(match[2]) - int(match[3])) / 1024
    return freed


def _gpu_memory(machine: Machine, workspace_mib: int, device: int) -> Iterator[Finding]:
    """Free memory of a card, by nvidia-smi."""
    if machine.is_jetson:
        yield ok("the same as the host's")
        return
    question = ("nvidia-smi", "--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits")
    answer = machine.command(*question, f"--id={_card(machine, device)}")
    match = re.match(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*$", answer.out)
    if not match:
        yield unknown(f"nvidia-smi: {answer.why or 'no answer that could be read'}")
        return
    free_mib, total_mib = int(match[1]), int(match[2])
    text = f"{free_mib} of {total_mib} MiB free"
    if free_mib < GPU_MIB + min(workspace_mib, LEAST_WORKSPACE_MIB):
        wants = f"{text}: an export needs at least {GPU_MIB + LEAST_WORKSPACE_MIB}"
        yield problem("export-gpu-memory", wants, "Stop what holds it: nvidia-smi names it")
    elif free_mib < GPU_MIB + workspace_mib:
        wants = f"{text}: an export with a workspace of {workspace_mib} MiB may take {GPU_MIB + workspace_mib}"
        yield warning("export-gpu-memory-tight", wants, _smaller(free_mib - GPU_MIB, workspace_mib))
    else:
        yield ok(text)


def _card(machine: Machine, device: int) -> str:
    """nvidia-smi's name for the GPU that CUDA calls `device`."""
    visible = [word.strip() for word in machine.environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    return visible[device] if device < len(visible) else str(device)


def _pilot(machine: Machine) -> Iterator[Finding]:
    """A pilot that runs and takes the memory that the build needs; not the one that asked for this export."""
    above = _ancestors(machine, os.getpid())
    found = [process for process in processes(machine) if process.is_pilot and process.pid not in above]
    if found:
        by_systemd = any(UNIT in (machine.read(f"proc/{process.pid}/cgroup") or "") for process in found)
        stop = STOP_PILOT if by_systemd else f"End it: kill {' '.join(str(process.pid) for process in found)}"
        yield warning("export-pilot-runs", f"the pilot runs: {', '.join(map(_shown, found))}", stop)
    else:
        yield ok("none runs")


def _shown(process: Process) -> str:
    return f"process {process.pid}, {process.rss_mib:.0f} MiB"


def _ancestors(machine: Machine, pid: int) -> set[int]:
    """Return the process and its ancestors, by /proc/PID/stat (proc(5): the parent is the second field behind ')')."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        fields = (machine.read(f"proc/{pid}/stat") or "").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
    return found


def _known_faults(machine: Machine) -> Iterator[Finding]:
    """The doctor's known faults of this release that can stop a build."""
    found = [finding for finding in jetpack.known_faults(machine) if finding.code == "l4t-nvmap"]
    yield from found or [ok("none that would stop a build")]


def _disk(machine: Machine, output: Path) -> Iterator[Finding]:
    """Room for what an export writes."""
    try:
        usage = machine.usage(output)
    except OSError as fault:
        yield unknown(f"{output}: {fault.strerror or fault}")
        return
    text = f"{output}: {usage.free_mib:.0f} of {usage.total_mib:.0f} MiB free"
    if usage.read_only:
        yield problem("export-disk", f"{output} is read-only", "Name another folder with --output")
    elif usage.free_mib < DISK_MIB:
        yield problem("export-disk", f"{text}: an export needs {DISK_MIB}", "Make room: sudo apt-get clean; df -h")
    else:
        yield ok(text)
