"""Sets loguru's sinks, once, for a program: stderr for people, and pilot.log unless the journal keeps the text."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from perception.core.redact import clean, printable
from perception.reporting.output_file import claim
from perception.settings.model import Settings
from perception.system.bounded_file import BoundedFile
from perception.system.lock import Lock

if TYPE_CHECKING:
    from loguru import Record

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {message}"
_PRIORITIES = ((40, r"\<3>"), (30, r"\<4>"), (20, ""), (0, r"\<7>"))
"""Prefixes of sd-daemon(3) by loguru's least level number; without one the journal takes a line as 6, info.

The backslash keeps loguru from reading a colour into it.
"""


def start_logging(level: str, path: Path | None, max_bytes: int) -> TextLog:
    """Replace every sink of loguru. path: of the text log, None for none; max_bytes bounds it with its older files.

    Under systemd the text goes to the journal alone. Raises BusyError where another pilot writes into the folder of
    `path`.
    """
    journal = goes_to_journal(sys.stderr)
    file = BoundedFile(path, max_bytes, _say_on_stderr) if path and not journal else None
    log = TextLog(_Stream(sys.stderr), file, stamped=not journal, level=level)
    if file:
        log.claim(file.path.parent)
    logger.remove()
    logger.configure(patcher=clean_record)
    logger.add(
        log,
        level=0,
        filter=log.takes,
        format=_journal_format if journal else FORMAT,
        colorize=False,
        diagnose=False,  # would write the values of variables, credentials among them
        backtrace=False,
    )
    return log


def claim_folder(lock: Lock, folder: Path) -> None:
    """Take the lock on a folder of logs and records: not on a file, which is renamed when full. Raises BusyError."""
    claim(lock, folder, "Give each pilot its own folder: log.dir.")


def clean_record(record: Record) -> None:
    """Take credentials and control characters out of a message before any sink of loguru's sees it."""
    record["message"] = clean(record["message"])


def _journal_format(record: Record) -> str:
    """Return the priority, for `journalctl -p warning`, and the text; the journal stamps each line itself."""
    priority = next(prefix for least, prefix in _PRIORITIES if record["level"].no >= least)
    return f"{priority}{{message}}\n{{exception}}"


def goes_to_journal(stream: TextIO | None) -> bool:
    """Return True for the journal's stream: systemd names its device and inode in JOURNAL_STREAM."""
    if stream is None:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _say_on_stderr(text: str) -> None:
    # Not the logger: this is said from inside one of its sinks.
    _Stream(sys.stderr).write(f"{clean(text)}\n")


class TextLog:
    """The text log, stderr and pilot.log: the sink of loguru, and a short way past it for the line of each frame.

    After an inference has filled the caches with other things, loguru's own way costs as much as the whole rest of the
    loop (0.17 of 0.33 ms, scripts/benchmark.py loop); the lines look the same.
    """

    def __init__(self, stream: _Stream, file: BoundedFile | None, stamped: bool, level: str) -> None:
        """stamped: lines begin with time and level. level: the least that is logged."""
        self._stream = stream
        self._file = file
        self._stamped = stamped
        self._set_level(level)
        self._lock = threading.Lock()  # the reader's thread logs, too
        self._folder = Lock()
        self._second = -1
        self._stamp = ""

    def apply(self, settings: Settings) -> None:
        """Take over log.level."""
        self._set_level(settings.log.level)

    def claim(self, folder: Path) -> None:
        """Keep other pilots from writing their text or records into the folder, until `stop`. Raises BusyError."""
        with suppress(OSError):  # the writer says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
        claim_folder(self._folder, folder)

    def limit(self, max_bytes: int) -> None:
        """Set another bound on pilot.log with its older files."""
        if self._file:
            self._file.limit(max_bytes)

    def _set_level(self, level: str) -> None:
        self._least = logger.level(level).no
        self._infos = self._least <= logger.level("INFO").no

    def takes(self, record: Record) -> bool:
        """Return True if the level lets this record of loguru through."""
        return record["level"].no >= self._least

    def write(self, text: str) -> None:
        """Take a line as loguru has formatted it, its message clean already, and the lines of a traceback."""
        first, *more = text.rstrip("\n").split("\n")
        # Indented, so that none of them looks like a line of the log.
        self._put("".join([first, "\n", *(f"    {clean(line)}\n" for line in more)]))

    def _put(self, text: str) -> None:
        with self._lock:
            self._stream.write(text)
            if self._file:
                self._file.write(text.encode("utf-8", "replace"))

    def stop(self) -> None:
        """Close the file; loguru calls this when it removes the sink."""
        if self._file:
            self._file.close()
        self._folder.release()

    def info(self, message: str) -> None:
        """Log one line at INFO."""
        if not self._infos:
            return
        if not message.isprintable():
            message = printable(message)
        if not self._stamped:
            self._put(f"{message}\n")
            return
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        self._put(f"{self._stamp}.{int(now * 1000) % 1000:03d} INFO    {message}\n")


class _Stream:
    """A stream whose reader may go away (a closed pipe, a full disk): lines are lost, the pilot goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None where the program was started with its stderr closed

    def write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self._stream = None
        except OSError:
            return  # a full disk may have room again
