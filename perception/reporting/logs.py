"""Sets loguru's sinks, once, for a program: stderr for people, and pilot.log unless the journal keeps the text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from loguru import logger

from perception.reporting.bounded_file import BoundedFile

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {message}"
JOURNAL_FORMAT = "{message}"  # the journal stamps each line itself


def start_logging(level: str, path: Path | None, max_bytes: int) -> None:
    """Replaces every sink of loguru. path: of the text log, None for none; max_bytes bounds it with its older files.

    Under systemd the text goes to the journal alone.
    """
    logger.remove()
    journal = goes_to_journal(sys.stderr)
    options = {"level": level, "colorize": False, "diagnose": False, "backtrace": False, "catch": True}
    logger.add(_Stream(sys.stderr), format=JOURNAL_FORMAT if journal else FORMAT, **options)  # type: ignore[call-overload]
    if path and not journal:
        file = BoundedFile(path, max_bytes, _say_on_stderr)
        logger.add(lambda text: file.write(text.encode("utf-8", "replace")), format=FORMAT, **options)  # type: ignore[call-overload]


def goes_to_journal(stream: TextIO) -> bool:
    """Whether the stream is the journal's: systemd names its device and inode in JOURNAL_STREAM."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _say_on_stderr(text: str) -> None:
    # Not the logger: this is said from inside one of its sinks.
    _Stream(sys.stderr).write(f"{text}\n")


class _Stream:
    """A stream whose reader may go away (a closed pipe, a full disk): lines are lost, the pilot goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._gone = isinstance(sys.exc_info()[1], (BrokenPipeError, ValueError))
