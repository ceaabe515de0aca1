"""The machine as the checks see it: files under a root, commands, probes of an interpreter, disks, this user."""

from __future__ import annotations

import ctypes
import json
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from perception.system.jetson import is_jetson
from perception.system.own_files import group_name, user_name
from perception.system.process import Answer, Runner

COMMAND_LIMIT_S = 5.0
PROBE_LIMIT_S = 10.0
"""An import of torch from a cold SD card takes several seconds; the whole run has to stay under 15."""
READ_CHUNKS = 8
"""Of 1 MiB; a dpkg status file needs several."""
UNIT = "vehicle-pilot.service"
SERVICE_CONFIG = Path("/etc/vehicle-pilot/pilot.yaml")
"""The service and its settings, as scripts/install_service.sh installs them."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer of a probe in a child process: facts, or why there are none. ended: True if it ended in time."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    ended: bool = True

    def text(self, key: str) -> str:
        """Return a fact that is text; empty where it is absent or something else."""
        value = self.facts.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """Return a fact that is a whole number, or None."""
        value = self.facts.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def texts(self, key: str) -> list[str]:
        """Return a fact that is a list of texts; other items are left out."""
        value = self.facts.get(key)
        return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []

    @property
    def missing(self) -> str:
        """The package that is not installed, where the import failed for that."""
        return self.text("missing")

    @property
    def fault(self) -> str:
        """Why the package cannot be used, in words; empty where it can."""
        return self.why or self.text("error")


@dataclass(frozen=True, slots=True)
class Usage:
    """A file system. Sizes in MiB; inodes None where it has no fixed number of them."""

    device: int
    free_mib: float
    total_mib: float
    free_inodes: int | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class User:
    """The user of this process: name, user id, and the names of the groups that the process really has."""

    name: str
    uid: int
    groups: frozenset[str]


@dataclass(frozen=True)
class Machine:
    """All that a check may read. root: stands for `/`. project: the folder of pilot.py. config: the settings file.

    python: the interpreter that runs the pilot. clock_synchronised: what the kernel says, None where it does not.
    """

    root: Path
    project: Path
    config: Path
    python: str
    run: Runner
    usage: Callable[[Path], Usage]
    may_read: Callable[[Path], bool]
    user: User
    now: float
    environment: Mapping[str, str]
    clock_synchronised: bool | None
    _probes: dict[str, Probe] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Return the path of `name`, with or without a leading /, under the root."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return the text of a file, its first 8 MiB at most; None where it cannot be read."""
        return read_file(self.path(name))

    def exists(self, name: str) -> bool:
        """Return True if something is there; False also where that cannot be known."""
        try:
            self.path(name).lstat()
        except (OSError, ValueError):
            return False
        return True

    def command(self, *words: str) -> Answer:
        """Run a command for COMMAND_LIMIT_S at most, and return its answer."""
        return self.run(words, COMMAND_LIMIT_S)

    def probe(self, name: str) -> Probe:
        """Return what perception.doctor.probe finds out about `name` in a child of the interpreter; runs once."""
        with self._locks.setdefault(name, threading.Lock()):
            if name not in self._probes:
                command = [self.python, "-B", "-m", "perception.doctor.probe", name, str(self.config)]
                self._probes[name] = _probe_of(self.run(command, PROBE_LIMIT_S))
            return self._probes[name]

    def settings(self) -> Probe:
        """Return the content of the settings file, read by the pilot's own loader."""
        return self.probe("settings")

    def folder(self, setting: str, default: str) -> Path:
        """Return the folder that a setting names; the one beside pilot.py where the settings cannot be read."""
        named = self.settings().text(setting)
        return Path(named) if named and "\0" not in named else self.project / default

    def is_same_python(self, other: Path) -> bool:
        """Return True if `other` starts the same environment: a venv's python is a link, so the folders decide."""
        return other.absolute().parent == Path(self.python).absolute().parent

    @cached_property
    def is_jetson(self) -> bool:
        """True on a board with a Tegra chip."""
        return is_jetson(self.root)

    @cached_property
    def packages(self) -> Mapping[str, str]:
        """Version by name of the Debian packages that are installed (dpkg's status file)."""
        found = {}
        for paragraph in (self.read("var/lib/dpkg/status") or "").split("\n\n"):
            lines = (line.partition(":") for line in paragraph.splitlines() if not line.startswith(" "))
            fields = {name: value.strip() for name, _, value in lines}
            if fields.get("Status", "").endswith(" installed") and "Package" in fields:
                found[fields["Package"]] = fields.get("Version", "")
        return found

    @property
    def l4t(self) -> tuple[int, int, int] | None:
        """The release of Jetson Linux: (36, 4, 3) of `# R36 (release), REVISION: 4.3`; None where unknown."""
        text = self.read("etc/nv_tegra_release") or ""
        match = re.search(r"# R(\d{1,4}) \(release\), REVISION: (\d{1,4})\.(\d{1,4})", text)
        if not match:
            match = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", self.packages.get("nvidia-l4t-core", ""))
        return (int(match[1]), int(match[2]), int(match[3])) if match else None


def read_file(path: Path) -> str | None:
    """Return the beginning of a file as text; None where it cannot be read. Never waits for a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        chunks: list[bytes] = []
        while len(chunks) < READ_CHUNKS and (chunk := os.read(handle, 2**20)):
            chunks.append(chunk)
        return b"".join(chunks).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(handle)


def _probe_of(answer: Answer) -> Probe:
    if answer.why:
        return Probe(why=answer.why, ended=answer.code is not None)
    try:
        facts = json.loads(answer.out)
    except (ValueError, RecursionError):
        facts = None
    return Probe(facts) if isinstance(facts, dict) else Probe(why="its answer is no JSON object")


def this_machine(project: Path, config: Path, python: str, run: Runner) -> Machine:
    """The machine that the doctor runs on. run: CommandRunner.run, in the folder of the project."""
    return Machine(
        root=Path("/"),
        project=project,
        config=config,
        python=python,
        run=run,
        usage=disk_usage,
        may_read=lambda path: os.access(path, os.R_OK),
        user=this_user(),
        now=time.time(),
        environment=dict(os.environ),
        clock_synchronised=kernel_clock_synchronised(),
    )


def this_user() -> User:
    """Return the user of this process."""
    groups = frozenset(group_name(number) for number in {os.getegid(), *os.getgroups()})
    return User(user_name(os.geteuid()), os.geteuid(), groups)


def disk_usage(path: Path) -> Usage:
    """Return the file system of `path`, or of its nearest folder that exists. Raises OSError."""
    nearest = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    numbers = os.statvfs(nearest)
    block = numbers.f_frsize / 2**20
    return Usage(
        device=nearest.stat().st_dev,
        free_mib=numbers.f_bavail * block,
        total_mib=numbers.f_blocks * block,
        free_inodes=numbers.f_favail if numbers.f_files else None,
        read_only=bool(numbers.f_flag & os.ST_RDONLY),
    )


def kernel_clock_synchronised() -> bool | None:
    """Return True if the kernel's clock is synchronised: adjtimex(2), here read-only, gives TIME_ERROR (5) if not."""
    buffer = ctypes.create_string_buffer(256)  # struct timex has 208 bytes on 64-bit Linux
    try:
        state = ctypes.CDLL(None).adjtimex(buffer)
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != 5


def same_interpreter() -> str:
    """Return the interpreter that runs the doctor."""
    return sys.executable or "python3"
