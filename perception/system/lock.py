"""Locks that the kernel releases when this process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from perception.system.own_files import NO_LINK, NO_WAIT, NotMine, open_unlinked

LOCKS = Path("/proc/locks")


class Held(Exception):
    """Another process holds the lock. pid: its number, None where that cannot be told."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid

    @property
    def by(self) -> str:
        """The holder, in words."""
        return f"process {self.pid}" if self.pid else "another process"


class Lock:
    """An exclusive flock(2) on a file, a device or a folder, whose content it does not touch."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._target: tuple[int, int] | None = None

    def take(self, path: Path) -> None:
        """Lock the file now at `path`, instead of the one locked before; does nothing where that is the same.

        Raises Held where another process has it, OSError where `path` cannot be opened or locked at all.
        """
        self._take(os.open(path, os.O_RDONLY | NO_WAIT | os.O_CLOEXEC))

    def take_file(self, path: Path) -> None:
        """Lock a file that stands for something else; it is made where it is missing, readable by all.

        It may be another user's file, whose pilot must be noticed, but not another user's link. Also raises NotMine.
        """
        # Read-only, as Linux may forbid to write another user's file there (fs.protected_regular).
        with suppress(FileExistsError):
            made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o644)
            os.fchmod(made, 0o644)  # whatever the umask: another user's pilot must be able to open it
            os.close(made)
        descriptor = open_unlinked(path, os.O_RDONLY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotMine(path, "it is no file")
        self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        """Lock the open file; the descriptor is closed unless it is kept."""
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
        """Release the lock, if there is one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._target = None


def _holder(status: os.stat_result) -> int | None:
    """Return the process that holds a flock on this file, from /proc/locks: see proc_locks(5)."""
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
