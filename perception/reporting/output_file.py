"""Files that a run writes: one writer each, and no existing file is overwritten unasked."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from loguru import logger

from perception.core.errors import BusyError
from perception.system.lock import Held, Lock


def claim(lock: Lock, path: Path, cure: str) -> None:
    """Take the lock on a file or folder, if it is there. BusyError, with the cure, where another pilot has it."""
    with suppress(OSError):  # what cannot be opened here cannot be written either, which its writer tells
        try:
            lock.take(path)
        except Held as held:
            if held.pid == os.getpid():  # the sinks of this run, about to be replaced by these
                return
            raise BusyError(f"{path} is being written by another pilot ({held.by})", cure) from None


def free_name(key: str, path: Path, overwrite: bool) -> Path:
    """Return the path that a run writes: `path`; where a file is there x-2.mp4 for x.mp4 and so on, with a warning.

    key: the setting that names it. overwrite: what is there may go. Devices and pipes hold nothing, and are used.
    """
    if overwrite or not path.is_file():
        return path
    number = 2
    while os.path.lexists(other := path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    logger.warning(f"{key}: {path} is there already and is kept; this run writes {other} (record.overwrite replaces)")
    return other


def reserve(key: str, path: Path, overwrite: bool) -> Path:
    """Make the file, empty where it is new, and return its path: a file that came since `free_name` is kept as well.

    Raises OSError.
    """
    while not overwrite:
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            if not path.is_file():
                return path
            path = free_name(key, path, overwrite)
        else:
            return path
    path.touch()
    return path
