"""Locks that hold while this process lives: the kernel releases them at its death, whatever the death."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCKS = Path("/proc/locks")


class Held(Exception):
    """Another process holds the lock. pid: its number, None where that cannot be told."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid

    @property
    def by(self) -> str:
        """Who holds it, in words."""
        return f"process {self.pid}" if self.pid else "another process"


class Lock:
    """An exclusive flock(2) on a file, a device or a folder, whose content it does not touch."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._target: tuple[int, int] | None = None

    def take(self, path: Path) -> None:
        """Locks what lies at `path` now, instead of what was locked before; does nothing where that is the same.

        Raises Held where another process has it, OSError where `path` cannot be opened or locked at all.
        """
        # Without O_NONBLOCK a device or a pipe may wait for its other end; O_NOCTTY: it may be a terminal.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            target = (status.st_dev, status.st_ino)
            if target != self._target:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.release()
                self._descriptor, self._target, descriptor = descriptor, target, -1
        except BlockingIOError:
            raise Held(_holder(status)) from None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def release(self) -> None:
        """Gives the lock back, where there is one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._target = None


def _holder(status: os.stat_result) -> int | None:
    """The process that holds a flock on this file, as /proc/locks tells: see proc_locks(5)."""
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == place and int(words[4]) > 0:
            return int(words[4])
    return None
