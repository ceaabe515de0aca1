"""One file, one writer: what a run writes is locked, so that a second pilot cannot mix its own into it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from perception.core.errors import BusyError
from perception.system.lock import Held, Lock


def claim(lock: Lock, path: Path, cure: str) -> None:
    """Takes the lock on a file or folder, if it is there. BusyError, with the cure, where another pilot has it."""
    with suppress(OSError):  # what cannot be opened here cannot be written either, which its writer tells
        try:
            lock.take(path)
        except Held as held:
            if held.pid == os.getpid():  # the sinks of this run, about to be replaced by these
                return
            raise BusyError(f"{path} is being written by another pilot ({held.by})", cure) from None
