"""Disks, the clock and the settings file."""

from __future__ import annotations

import time
from collections.abc import Iterator

from perception.doctor.checks.machine import SERVICE_CONFIG, Machine, Usage
from perception.doctor.finding import Finding, ok, problem, unknown, warning

LEAST_MIB = 100
"""With less, logs, records and apt stop."""
SPARE_MIB = 1024
"""Room for an upgrade, an export and some days of logs, besides the log's own limit."""
LEAST_INODES = 1000


def disk(machine: Machine) -> Iterator[Finding]:
    """Check space and inodes, each file system once; that of the logs must be writable, the root need not."""
    wants = {
        "logs": (machine.folder("log_dir", "logs"), machine.settings().number("log_max_mib") or 256),
        "engines": (machine.folder("engine_dir", "engines"), 0),
        "the system": (machine.root, 0),
    }
    seen: set[int] = set()
    for name, (folder, log_mib) in wants.items():
        try:
            usage = machine.usage(folder)
        except OSError as fault:
            yield unknown(f"{folder} ({name}): {fault.strerror or fault}")
            continue
        if usage.device not in seen:
            seen.add(usage.device)
            yield _judge(f"{folder} ({name})", usage, log_mib)


def _judge(place: str, usage: Usage, log_mib: int) -> Finding:
    text = f"{place}: {_size(usage.free_mib)} of {_size(usage.total_mib)} free"
    clean = "sudo apt-get clean; journalctl --vacuum-size=200M; du -xh / | sort -h | tail"
    if usage.read_only and not log_mib:
        return ok(f"{text}, read-only")
    if usage.read_only:
        return problem(
            "disk-read-only", f"{place} is read-only", "dmesg | grep -i 'ext4\\|mmc\\|nvme'   (a worn card? then fsck)"
        )
    if usage.free_inodes is not None and usage.free_inodes < LEAST_INODES:
        cure = "sudo du --inodes -x / | sort -n | tail   (many small files somewhere)"
        return problem("disk-inodes", f"{place}: {usage.free_inodes} inodes free", cure)
    if usage.free_mib < LEAST_MIB:
        return problem("disk-full", text, clean)
    if usage.free_mib < log_mib + SPARE_MIB:
        return warning("disk-tight", f"{text}; logs may take {log_mib} MiB", clean)
    return ok(text)


def _size(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def clock(machine: Machine) -> Iterator[Finding]:
    """Check the wall clock, which records carry: it must not be before the pilot's own files, and be synchronised."""
    try:
        newest = max(path.stat().st_mtime for path in (machine.project / "pilot.py", machine.config))
    except OSError:
        newest = 0.0
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(machine.now))
    if machine.now < newest - 86400:
        cure = (
            "sudo timedatectl set-ntp true   (no network: fit an RTC battery, timedatectl set-time 'YYYY-MM-DD HH:MM')"
        )
        yield problem("clock-behind", f"it is {now}, before the pilot's own files were written", cure)
        return
    answer = machine.command("timedatectl", "show", "--property=NTP", "--property=NTPSynchronized")
    synchronised = machine.clock_synchronised
    if "NTPSynchronized=" in answer.out:
        synchronised = "NTPSynchronized=yes" in answer.out
    if synchronised is None:
        yield unknown(f"{now}; timedatectl: {answer.why or 'no answer that could be read'}")
    elif synchronised:
        yield ok(f"{now}, synchronised")
    else:
        cure = "sudo timedatectl set-ntp true; timedatectl timesync-status"
        yield warning("clock-not-synchronised", f"{now}, not synchronised: times in the records may be wrong", cure)


def settings(machine: Machine) -> Iterator[Finding]:
    """Check that the pilot's own loader accepts the settings file."""
    path = machine.config
    if not path.is_file():
        cure = "Name it with --config, or copy config/pilot.yaml of the project"
        yield problem("settings-missing", f"{path} is not there", cure)
        return
    if not machine.may_read(path) and path == SERVICE_CONFIG:
        cure = f"sudo -u vehicle-pilot {machine.python} scripts/doctor.py"
        yield unknown(f"{machine.user.name} may not read {path}: it may hold a camera's password", cure)
        return
    if not machine.may_read(path):
        yield problem(
            "settings-unreadable", f"{machine.user.name} may not read {path}", f"sudo chown {machine.user.name} {path}"
        )
        return
    probe = machine.settings()
    faults = probe.text("faults")
    if faults:
        yield problem(
            "settings-invalid",
            "; ".join(faults.splitlines()[:4]),
            f"Edit {path}; config/pilot.yaml of the project lists every key",
        )
    elif probe.fault:
        yield unknown(
            f"{path} is there, but the pilot's loader does not run: {probe.fault}", "See the line on packages"
        )
    else:
        yield ok(f"{path}, source {probe.text('scheme')}")
