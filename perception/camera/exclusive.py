"""One pilot a camera: with a lock, a second one gets a clear message instead of a driver's error."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from loguru import logger

from perception.camera.capture import UnusableSource
from perception.camera.uri import SourceUri
from perception.core.errors import SourceError
from perception.system.lock import Held, Lock

FOLDER = Path("/run/lock")
"""Folder of lock files for cameras without a device node; world-writable (FHS 3.0, 3.15 and 5.9)."""


def lock_camera(uri: SourceUri, path: Path | None = None) -> Lock:
    """Lock a camera and return the lock. path: its device; None where it has none, and a lock file stands for it.

    Raises UnusableSource where another process has it. Release it while the camera is lost: a device that is held
    open keeps its name, and a camera that is plugged in again would get another one.
    """
    lock = Lock()
    try:
        if path:
            lock.take(path)
        else:
            lock.take_file(FOLDER / f"vehicle-pilot.{uri.scheme}.{uri.target}.lock")
    except Held as held:
        if held.pid == os.getpid():
            raise SourceError(f"{uri.label} is still held by a call that hangs in its driver") from None
        raise UnusableSource(
            f"{uri.label} is in use by another pilot ({held.by})", "Stop that one, or give this one another camera."
        ) from None
    except OSError as error:
        _warn_once(f"{uri.label} is used without a lock ({error.strerror}): a second pilot on it would not be noticed")
    return lock


@functools.cache
def _warn_once(text: str) -> None:
    logger.warning(text)
