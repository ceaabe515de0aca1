"""Power mode, clocks, temperatures and what slows the board down."""

from __future__ import annotations

import re
from collections.abc import Iterator

from perception.board import sysfs
from perception.doctor.finding import Finding, ok, problem, unknown, warning
from perception.doctor.machine import Machine
from perception.heat import HOT_MARGIN_C

HOT_C = 90.0
"""For a zone whose throttle point the kernel does not tell; an Orin throttles at 99 C."""
FREQUENT = 1000
"""Instantaneous over-current is common in the highest modes, about 1 ms each; this often is not."""


def power_mode(machine: Machine) -> Iterator[Finding]:
    """The mode of nvpmodel; its service fails at boot where a mode needs a confirmation that nobody gives."""
    mode = sysfs.power_mode(machine.root)
    if mode is None:
        yield unknown("neither /var/lib/nvpmodel/status nor /etc/nvpmodel.conf tells the mode", "sudo nvpmodel -q")
        return
    state = machine.command("systemctl", "show", "nvpmodel.service", "--property=ActiveState,Result")
    others = re.findall(
        r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S+)", machine.read("etc/nvpmodel.conf") or "", re.M
    )
    name = f"{mode.name or 'a mode without a name'} (mode {mode.mode_id})"
    if "ActiveState=failed" in state.out:
        cure = f"sudo nvpmodel -m {mode.mode_id}   (answer its question), then reboot"
        yield warning("power-mode-not-set", f"{name} is asked for, but nvpmodel.service failed to set it", cure)
        return
    listed = ", ".join(f"{other} {label}" for other, label in others if int(other) != mode.mode_id)
    yield ok(name + (f"; others: {listed} (sudo nvpmodel -m NUMBER)" if listed else ""))


def clocks(machine: Machine) -> Iterator[Finding]:
    """Whether the GPU's clock is fixed or follows the load."""
    gpu = sysfs.gpu(machine.root)
    if gpu.clock_hz is None or gpu.clock_max_hz is None:
        yield unknown("the kernel tells no GPU clock", "sudo jetson_clocks --show")
        return
    text = f"GPU at {gpu.clock_hz / 1e6:.0f} of {gpu.clock_max_hz / 1e6:.0f} MHz"
    if gpu.clock_hz >= gpu.clock_max_hz:
        yield ok(text)
    else:
        yield ok(f"{text}: it follows the load, so the first frames after a rest are slow (fixed: sudo jetson_clocks)")


def throttling(machine: Machine) -> Iterator[Finding]:
    """Thermal alarms that are on, and how often the power input has slowed the board down since boot."""
    alarms = sysfs.throttling(machine.root)
    if alarms:
        cure = "Cool it: fan, sink, shade; or sudo nvpmodel -m a mode with fewer watts"
        yield problem("throttling", f"slowed down by heat: {', '.join(alarms)}", cure)
    events = sysfs.oc_events(machine.root)
    seen = {name: count for name, count in events.items() if count > (FREQUENT if name.startswith("inst") else 0)}
    if seen:
        text = ", ".join(f"{count} times {name}" for name, count in sorted(seen.items()))
        cure = "A stronger supply and a shorter cable, or a power mode with fewer watts"
        yield warning("power-throttled", f"since boot slowed down by the power input: {text}", cure)
    if not alarms and not seen:
        yield ok("none" + ("" if events else "; the power input's counters cannot be read"))


def temperatures(machine: Machine) -> Iterator[Finding]:
    """The hottest zone against the point where the kernel slows down."""
    zones = sysfs.temperatures_c(machine.root)
    if not zones:
        yield unknown("no thermal zone tells a temperature")
        return
    limits = sysfs.throttle_points_c(machine.root)
    margin = {name: limits.get(name, HOT_C) - celsius for name, celsius in zones.items()}
    tightest = min(margin, key=lambda name: margin[name])
    limit = limits.get(tightest)
    text = f"{tightest} {zones[tightest]:.0f} C" + (f", throttles from {limit:.0f} C" if limit else "")
    hottest = max(zones, key=lambda name: zones[name])
    text += f"; hottest: {hottest} {zones[hottest]:.0f} C" if hottest != tightest else ""
    if margin[tightest] <= HOT_MARGIN_C:
        cure = "Cool it: clean the fan and sink, give shade; or a power mode with fewer watts"
        yield warning("hot", text, cure)
    else:
        yield ok(text)
