"""Power mode, clocks, temperatures and throttling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perception.board import sysfs
from perception.core.heat import HOT_MARGIN_C
from perception.doctor.checks.machine import Machine
from perception.doctor.finding import Finding, ok, problem, unknown, warning

HOT_C = 90.0
"""For a zone without a throttle point in the kernel; an Orin throttles at 99 C."""
OFTEN_HZ: Mapping[str, float] = MappingProxyType(
    {"under-voltage": 0.0, "average over-current": 1 / 60, "instantaneous over-current": 20.0}
)
"""Events a second since boot that are too many. On healthy boards in the highest modes instantaneous ones come 7 times
a second, about 1 ms each, and of average ones some 15 were seen since boot."""


def power_mode(machine: Machine) -> Iterator[Finding]:
    """Check the mode of nvpmodel, whose service fails at boot where a mode needs a confirmation that nobody gives."""
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
    text = name + (f"; others: {listed} (sudo nvpmodel -m NUMBER)" if listed else "")
    fastest = max(others, key=lambda one: _speed(one[1]), default=None)
    if fastest and int(fastest[0]) != mode.mode_id and _speed(fastest[1]) > _speed(mode.name or ""):
        text += f"; a faster one is there: sudo nvpmodel -m {fastest[0]}   ({fastest[1]})"
    yield ok(text)


def _speed(name: str) -> tuple[int, float]:
    """Return a sort key of a power mode by name: MAXN_SUPER, MAXN, then by watts. Their numbers say nothing.

    Mode 0 is MAXN on AGX Orin and Thor, and 15W on Orin Nano (/etc/nvpmodel.conf of those boards).
    """
    watts = re.search(r"(\d+(?:\.\d+)?)W", name)
    rank = 0 if "MAXN" not in name else 2 if "SUPER" in name else 1
    return rank, float(watts[1]) if watts else 0.0


def clocks(machine: Machine) -> Iterator[Finding]:
    """Report if the GPU's clock is fixed or follows the load."""
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
    """Check thermal alarms, and count how often the power input has slowed the board down since boot."""
    alarms = sysfs.throttling(machine.root)
    if alarms:
        cure = "Cool it: fan, sink, shade; or sudo nvpmodel -m a mode with fewer watts"
        yield problem("throttling", f"slowed down by heat: {', '.join(alarms)}", cure)
    events = sysfs.oc_events(machine.root)
    up_s = _uptime_s(machine)
    often = {name: count for name, count in events.items() if _is_often(name, count, up_s)}
    if often:
        cure = "A stronger supply and a shorter cable, or a power mode with fewer watts"
        yield warning("power-throttled", f"since boot slowed down by the power input: {_counted(often, up_s)}", cure)
    if not alarms and not often:
        seen = {name: count for name, count in events.items() if count}
        usual = f"; since boot {_counted(seen, up_s)}, which is usual" if seen else ""
        yield ok("none" + (usual if events else "; the power input's counters cannot be read"))


def _uptime_s(machine: Machine) -> float | None:
    match = re.match(r"\d{1,10}(?:\.\d{1,3})?(?=\s)", machine.read("proc/uptime") or "")
    return float(match[0]) or None if match else None


def _is_often(name: str, count: int, up_s: float | None) -> bool:
    """Return True if the events are too many. Without an uptime: if they are of a kind that should never come."""
    most_hz = OFTEN_HZ.get(name, 0.0)
    if up_s is None:
        return count > 0 and not most_hz
    return count > most_hz * up_s


def _counted(events: Mapping[str, int], up_s: float | None) -> str:
    return ", ".join(
        f"{count} times {name}" + (f" ({count / up_s:.2g} a second)" if up_s else "")
        for name, count in sorted(events.items())
    )


def temperatures(machine: Machine) -> Iterator[Finding]:
    """Compare the hottest zone with the point where the kernel slows the board down."""
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
