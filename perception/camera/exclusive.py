"""One camera, one pilot: a lock that a second one meets with a sentence instead of a driver's riddle."""

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
"""Where locks of what is no file lie; every user may write there (Filesystem Hierarchy Standard 3.0, 3.15 and 5.9)."""


def lock_camera(uri: SourceUri, path: Path | None = None) -> Lock:
    """The lock of a camera, taken. path: its device; None where it has none, and a lock file stands for it.

    Raises UnusableSource where another process has it. Not to be held while the camera is lost: a device that is held
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
