"""What lies where a run is to write is kept: the run then writes beside it, under the next name that is free."""

from __future__ import annotations

import os
from pathlib import Path

from loguru import logger


def free_name(key: str, path: Path, overwrite: bool) -> Path:
    """Return where a run writes: `path`, or x-2.mp4 for x.mp4, x-3.mp4 and so on, where a file is there; and say so.

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
    """Make the file, empty where it is new, and return its path: what came there since `free_name` is kept, too.

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
