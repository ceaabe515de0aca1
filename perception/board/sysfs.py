"""Reads the board's state from the kernel, in SI units: standard library alone, no root, runs on Python 3.8.

Every reader takes the `root` that stands for `/` and leaves out what is absent or cannot be read; none of them raises.
Devices are found by the name they give themselves: the numbers of hwmon and thermal zones change from boot to boot.

Where the files are documented:
- thermal zones, cooling devices, over-current counters and rails: NVIDIA Jetson Linux Developer Guide r36, "Jetson Orin
  Nano Series, Jetson Orin NX Series and Jetson AGX Orin Series", thermal and electrical management;
- hwmon: the kernel's Documentation/hwmon/{sysfs-interface,ina3221,ina238}.rst: mV, mA, uW;
- GPU and memory controller: jetson_stats 7.2, jtop/core/{gpu,memory,hw_detect}.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from perception.system.jetson import read_text

# A power-gated sensor either answers EAGAIN or reports a temperature below this (-256 C on Jetson Linux).
COLDEST_C = -100.0
# The rails that measure the whole input: Thor's carrier board, Orin Nano and NX, older modules (jtop/core/power.py).
INPUT_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
# On an AGX Orin this rail is fed from VIN_SYS_5V0 (its own voltage reads 5 V), so a sum must not count it again.
INNER_RAILS = ("VDDQ_VDD2_1V8AO",)
# The counters of hwmon soctherm_oc on Orin and Thor (tegra23x-oc-event.c); what they mean on an Orin: the guide above.
OC_EVENTS = {1: "under-voltage", 2: "average over-current", 3: "instantaneous over-current"}
_GPU_DEVFREQ = re.compile(r"\d+\.(gpu|ga10b|gv11b|gp10b)|gpu-gpc-0")


class Clock(NamedTuple):
    """A clocked unit. load: 0 to 1. Clocks in Hz. Each None where unknown."""

    load: float | None = None
    clock_hz: float | None = None
    clock_max_hz: float | None = None


class MemoryUse(NamedTuple):
    """RAM and swap in MiB (zram is swap, too); None where unknown."""

    total_mib: float | None = None
    available_mib: float | None = None
    swap_total_mib: float | None = None
    swap_used_mib: float | None = None


class PowerMode(NamedTuple):
    """The power mode of nvpmodel. name: None where /etc/nvpmodel.conf does not tell it."""

    mode_id: int
    name: str | None


def read_number(path: Path) -> float | None:
    """Return the number at the start of a small file, or None."""
    match = re.match(r"\s*-?\d{1,18}(\.\d+)?(?=\s|$)", read_text(path) or "")
    return float(match.group()) if match else None


def temperatures_c(root: Path) -> dict[str, float]:
    """Return each zone's temperature by its short name (`gpu`, `cpu`, `tj`, `soc0`), without zones that are off."""
    found: dict[str, float] = {}
    for name, zone in _zones(root):
        milli_c = read_number(zone / "temp")
        if milli_c is not None and milli_c / 1000 > COLDEST_C:
            found[name] = milli_c / 1000
    return found


def throttle_points_c(root: Path) -> dict[str, float]:
    """Return the temperature at which the kernel slows the device down: each zone's lowest passive trip point."""
    found: dict[str, float] = {}
    for name, zone in _zones(root):
        for kind in sorted(zone.glob("trip_point_*_type")):
            milli_c = read_number(zone / kind.name.replace("_type", "_temp"))
            if read_text(kind) == "passive" and milli_c is not None and milli_c > 0:
                found[name] = min(milli_c / 1000, found.get(name, milli_c / 1000))
    return found


def throttling(root: Path) -> list[str]:
    """Return the thermal throttle alarms that are on now, such as `gpu-throttle-alert`.

    Only cooling devices of that kind: a fan that turns is no throttling, and hot-surface-alert slows nothing down.
    """
    devices = _entries(root / "sys/class/thermal", "cooling_device")
    states = ((read_text(device / "type") or "", read_number(device / "cur_state")) for device in devices)
    return sorted(kind for kind, state in states if kind.endswith("throttle-alert") and state)


def oc_events(root: Path) -> dict[str, int]:
    """Return how often each protection of the power input has slowed the device down since boot.

    Instantaneous over-current is common and short (about 1 ms each) in the highest power modes; the others are not.
    """
    found: dict[str, int] = {}
    for hwmon in _hwmon(root, "soctherm_oc"):
        for number, meaning in OC_EVENTS.items():
            count = read_number(hwmon / f"oc{number}_event_cnt")
            if count is not None:
                found[meaning] = int(count)
    return found


def rails_w(root: Path) -> dict[str, float]:
    """Return the power of each rail by label (INA3221 from JetPack 5 on), and `VIN` from the INA238 of a Thor."""
    found: dict[str, float] = {}
    for hwmon in _hwmon(root, "ina3221"):
        for channel in (1, 2, 3):  # 4 to 6 are shunt voltages, 7 is their sum
            label = read_text(hwmon / f"in{channel}_label")
            milli_v, milli_a = read_number(hwmon / f"in{channel}_input"), read_number(hwmon / f"curr{channel}_input")
            if label and not label.startswith("NC") and milli_v is not None and milli_a is not None:
                found[label] = milli_v * milli_a / 1e6
    for hwmon in _hwmon(root, "ina238"):
        micro_w = read_number(hwmon / "power1_input")
        if micro_w is not None:
            found["VIN"] = micro_w / 1e6
    return found


def total_w(rails: dict[str, float]) -> float | None:
    """Return the power of the module or board: its input rail, else the sum of the rails that feed no other."""
    for name in INPUT_RAILS:
        if name in rails:
            return rails[name]
    return sum(watts for name, watts in rails.items() if name not in INNER_RAILS) if rails else None


def gpu(root: Path) -> Clock:
    """Return the clock of the integrated GPU. nvgpu gives the load in thousandths; Thor has it through NVML only."""
    for device in _entries(root / "sys/class/devfreq", ""):
        if _GPU_DEVFREQ.fullmatch(device.name):
            per_mille = read_number(device / "device/load")
            load = None if per_mille is None else min(per_mille / 1000, 1.0)
            return Clock(load, read_number(device / "cur_freq"), read_number(device / "max_freq"))
    return Clock()


def emc(root: Path) -> Clock:
    """Return the clock of the memory controller, from debugfs, which only root reads, or a devfreq device (Thor).

    The activity counter divided by the clock in kHz is the load in percent (jtop/core/memory.py).
    """
    debug = root / "sys/kernel/debug"
    clock_hz = read_number(debug / "bpmp/debug/clk/emc/rate")
    clock_max_hz = read_number(debug / "bpmp/debug/clk/emc/max_rate")
    if clock_hz is None:
        devfreq = root / "sys/class/devfreq/bwmgr"
        clock_hz, clock_max_hz = read_number(devfreq / "cur_freq"), read_number(devfreq / "max_freq")
    activity = read_number(debug / "cactmon/mc_all")
    if activity is None:
        activity = read_number(debug / "bpmp/debug/actmon/mc_all_avg_activity")
    load = min(activity / (clock_hz / 1000) / 100, 1.0) if activity is not None and clock_hz else None
    return Clock(load, clock_hz, clock_max_hz)


def cpu(root: Path) -> Clock:
    """Return the clock of the fastest online core, without its load, which takes two reads of `cpu_times`."""
    folders = [core / "cpufreq" for core in _entries(root / "sys/devices/system/cpu", "cpu") if core.name[3:].isdigit()]
    now = [khz for khz in (read_number(folder / "scaling_cur_freq") for folder in folders) if khz is not None]
    most = [khz for khz in (read_number(folder / "cpuinfo_max_freq") for folder in folders) if khz is not None]
    return Clock(None, max(now) * 1000 if now else None, max(most) * 1000 if most else None)


def cpu_times(root: Path) -> tuple[float, float] | None:
    """Return (busy, total) ticks of all cores since boot, from the first line of /proc/stat (proc(5))."""
    match = re.match(r"cpu +(\d{1,18}(?: \d{1,18}){4,})", read_text(root / "proc/stat") or "")
    if not match:
        return None
    ticks = [float(field) for field in match.group(1).split()[:8]]  # guest time is inside user time
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def memory(root: Path) -> MemoryUse:
    """Return RAM and swap from /proc/meminfo."""
    kib = {}
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        match = re.match(r"(\w+):\s+(\d{1,18}) kB", line)
        if match:
            kib[match.group(1)] = int(match.group(2)) / 1024
    swap_total, swap_free = kib.get("SwapTotal"), kib.get("SwapFree")
    used = swap_total - swap_free if swap_total is not None and swap_free is not None else None
    return MemoryUse(kib.get("MemTotal"), kib.get("MemAvailable"), swap_total, used)


def power_mode(root: Path) -> PowerMode | None:
    """Return the mode that nvpmodel set last, else its default. None where there is no nvpmodel."""
    conf = read_text(root / "etc/nvpmodel.conf") or ""
    status = re.search(r"pmode:(\d+)", read_text(root / "var/lib/nvpmodel/status") or "")
    mode = status or re.search(r"^\s*<\s*PM_CONFIG\s+DEFAULT=(\d+)", conf, re.MULTILINE)
    if not mode:
        return None
    mode_id = int(mode.group(1))
    name = re.search(rf"^\s*<\s*POWER_MODEL\s+ID={mode_id}\s+NAME=(\S+)", conf, re.MULTILINE)
    return PowerMode(mode_id, name.group(1) if name else None)


def _zones(root: Path) -> Iterator[tuple[str, Path]]:
    for zone in _entries(root / "sys/class/thermal", "thermal_zone"):
        kind = read_text(zone / "type")
        if kind:
            yield re.sub(r"[-_]therm(al)?$", "", kind.lower()), zone


def _hwmon(root: Path, name: str) -> Iterator[Path]:
    for device in _entries(root / "sys/class/hwmon", "hwmon"):
        if read_text(device / "name") == name:
            yield device


def _entries(folder: Path, prefix: str) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name.startswith(prefix))
    except OSError:
        return []
