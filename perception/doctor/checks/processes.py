"""Processes and the devices that they hold open, from /proc."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perception.doctor.checks.machine import Machine, read_file


@dataclass(frozen=True, slots=True)
class Process:
    """A process. name: its own, up to 15 characters. rss_mib: resident memory."""

    pid: int
    name: str
    command: str
    rss_mib: float

    @property
    def is_pilot(self) -> bool:
        """True for the vehicle pilot."""
        return any(Path(word).name == "pilot.py" for word in self.command.split("\0"))


def processes(machine: Machine) -> Iterator[Process]:
    """Yield all processes that can be seen; one that ends meanwhile is left out."""
    for folder in _folders(machine):
        name = read_file(folder / "comm")
        if name is None:
            continue
        status = read_file(folder / "status") or ""
        kib = re.search(r"VmRSS:\s+(\d{1,15}) kB", status)
        command = read_file(folder / "cmdline") or ""
        yield Process(int(folder.name), name.strip(), command, int(kib[1]) / 1024 if kib else 0.0)


def holders(machine: Machine, device: re.Pattern[str]) -> list[tuple[Process, str]]:
    """Return (process, device) for every process that has one open. Without root only this user's can be seen."""
    found = []
    for process in processes(machine):
        targets = _open_files(machine.path(f"proc/{process.pid}/fd"))
        found += [(process, target) for target in sorted(targets) if device.fullmatch(target)]
    return found


def _folders(machine: Machine) -> list[Path]:
    try:
        entries = [entry for entry in machine.path("proc").iterdir() if re.fullmatch(r"[1-9]\d{0,9}", entry.name)]
    except OSError:
        return []
    return sorted(entries, key=lambda entry: int(entry.name))


def _open_files(folder: Path) -> set[str]:
    found = set()
    try:
        for link in folder.iterdir():
            try:
                found.add(str(link.readlink()))
            except OSError:
                continue  # closed meanwhile
    except OSError:
        return found
    return found
