"""Locks that hold while this process lives: the kernel releases them at its death, whatever the death."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from perception.system.own_files import NEVER, WAITS_FOR_NOBODY, NotMine, open_unlinked

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
        self._take(os.open(path, os.O_RDONLY | WAITS_FOR_NOBODY | os.O_CLOEXEC))

    def take_file(self, path: Path) -> None:
        """As `take`, for a file that stands for what is locked; made where it is not there, readable by all.

        It may be another user's, whose pilot is to be met there, but nobody's link. Raises NotMine, too, an OSError.
        """
        # Not opened for writing, as Linux lets nobody write another user's file there (fs.protected_regular).
        with suppress(FileExistsError):
            made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | NEVER, 0o644)
            os.fchmod(made, 0o644)  # whatever the umask: another user's pilot must be able to look
            os.close(made)
        descriptor = open_unlinked(path, os.O_RDONLY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotMine(path, "it is no file")
        self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        """Locks what the descriptor is of, which is closed where it is not kept."""
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
