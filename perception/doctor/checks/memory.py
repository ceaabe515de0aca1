"""Memory, which CPU and GPU share on a Jetson: free memory and its blocks, swap, and other users of the GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from perception.board import sysfs
from perception.doctor.checks.machine import Machine
from perception.doctor.checks.processes import Process, holders, processes
from perception.doctor.finding import Finding, ok, problem, unknown, warning

LEAST_MIB = 256
"""With less, the kernel starts to kill processes."""
EXPORT_MIB = 2048
"""Free memory that an export of an engine needs, swap included; a run needs far less."""
BLOCK_KIB = 4096
"""The GPU's allocator wants whole blocks of 4 MiB, the unit of `lfb` in tegrastats."""
FEW_BLOCKS = 16
DESKTOP = ("Xorg", "Xwayland", "gnome-shell", "gdm3", "lightdm", "sddm", "kwin_x11", "xfce4-session", "lxsession")
GPU_DEVICES = re.compile(r"/dev/(nvidia\d+|nvgpu/.*|nvhost-(as-|ctrl-)?gpu)")


def memory(machine: Machine) -> Iterator[Finding]:
    """Check MemAvailable."""
    now = sysfs.memory(machine.root)
    if now.available_mib is None or now.total_mib is None:
        yield unknown("/proc/meminfo does not tell")
        return
    text = f"{now.available_mib:.0f} of {now.total_mib:.0f} MiB available"
    swap_free = (now.swap_total_mib or 0) - (now.swap_used_mib or 0)
    if now.available_mib < LEAST_MIB:
        yield problem("memory-low", text, "ps aux --sort=-rss | head   (then stop what is not needed, or reboot)")
    elif machine.is_jetson and now.available_mib + swap_free < EXPORT_MIB:
        cure = "Enough to run. Before a build stop the pilot and the desktop: sudo systemctl isolate multi-user.target"
        yield warning("memory-tight", f"{text}: an export of an engine may be killed", cure)
    else:
        yield ok(text)


def largest_block(machine: Machine) -> Iterator[Finding]:
    """Check the largest free block (`lfb` of tegrastats), from /proc/buddyinfo, in powers of two of a page."""
    page_kib = os.sysconf("SC_PAGE_SIZE") // 1024
    counts: dict[int, int] = {}
    for line in (machine.read("proc/buddyinfo") or "").splitlines():
        match = re.match(r"Node\s+\d+, zone\s+\S+((?:\s+\d{1,12})+)\s*$", line)
        for order, count in enumerate(match[1].split()[:20] if match else []):
            counts[order] = counts.get(order, 0) + int(count)
    if not counts:
        yield unknown("/proc/buddyinfo does not tell")
        return
    largest = max((order for order, count in counts.items() if count), default=0)
    sizes = {page_kib << order: count for order, count in counts.items()}
    blocks = sum(count * size // BLOCK_KIB for size, count in sizes.items() if size >= BLOCK_KIB)
    text = f"largest free block {page_kib << largest} KiB, {blocks} blocks of 4 MiB"
    if blocks < FEW_BLOCKS:
        cure = "sudo reboot   (at once: echo 1 | sudo tee /proc/sys/vm/compact_memory)"
        yield warning("memory-fragmented", f"{text}: large GPU allocations may fail though memory is free", cure)
    else:
        yield ok(text)


def swap(machine: Machine) -> Iterator[Finding]:
    """Check swap, and if it is zram alone, which lies in the same memory."""
    now = sysfs.memory(machine.root)
    if now.swap_total_mib is None or now.swap_used_mib is None:
        yield unknown("/proc/meminfo does not tell")
        return
    names = [line.split()[0] for line in (machine.read("proc/swaps") or "").splitlines()[1:] if line.split()]
    text = f"{now.swap_used_mib:.0f} of {now.swap_total_mib:.0f} MiB used"
    add = "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile"
    if now.swap_total_mib == 0:
        if machine.is_jetson and (sysfs.memory(machine.root).total_mib or 0) < 16_000:
            yield warning("swap-none", "no swap: an export of an engine may be killed", add)
        else:
            yield ok("no swap")
    elif now.swap_used_mib > 0.8 * now.swap_total_mib:
        yield warning("swap-full", text, "ps aux --sort=-rss | head   (something grows; then reboot)")
    elif names and all("zram" in name for name in names):
        yield ok(f"{text}, zram alone ({len(names)} devices): it lies in the same memory")
    else:
        yield ok(f"{text}{' on ' + ', '.join(names) if names else ''}")


def gpu_users(machine: Machine) -> Iterator[Finding]:
    """Find processes that hold the GPU, besides the pilot and the desktop."""
    users = holders(machine, GPU_DEVICES)
    found = sorted({f"{process.name} ({process.pid})" for process, _ in users if not _is_ours(process)})
    partly = "" if machine.user.uid == 0 else "; run with sudo to see those of other users"
    if found:
        cure = "Stop what is not needed: it shares memory and time with the pilot"
        yield warning("gpu-shared", f"the GPU is also used by {', '.join(found[:6])}{partly}", cure)
    else:
        yield ok(("nobody but the pilot or the desktop" if users else "nobody") + partly)


def _is_ours(process: Process) -> bool:
    return process.is_pilot or process.name in DESKTOP


def desktop(machine: Machine) -> Iterator[Finding]:
    """Look for a desktop session, which takes memory and GPU time."""
    running = [process for process in processes(machine) if process.name in DESKTOP]
    if running:
        names = ", ".join(sorted({process.name for process in running}))
        mib = sum(process.rss_mib for process in running)
        cure = "sudo systemctl set-default multi-user.target && sudo reboot   (back: graphical.target)"
        yield warning("desktop-running", f"{names} take {mib:.0f} MiB", cure)
    else:
        yield ok("none")
