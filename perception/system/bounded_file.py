"""A file of lines that never outgrows its bound, and survives a disk that is full or read-only."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from perception.system.own_files import open_unlinked

RETRY_S = 10.0
LOOK_S = 1.0
"""Seconds between two looks whether somebody has deleted the file."""
FILES = 4
"""The current file and the older ones, name.1 to name.3."""


class BoundedFile:
    """Appends lines, each with one unbuffered write, so that a kill loses at most the line being written.

    max_bytes: of the current file and its older ones together. on_trouble gets one sentence when writing begins to
    fail and one when it works again; in between lines are lost, and nothing is raised.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        on_trouble: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.limit(max_bytes)
        self._on_trouble = on_trouble
        self._clock = clock
        self._file: io.FileIO | None = None
        self._size = 0
        self._lost = 0
        self._retry_at: float | None = None  # while it cannot be written
        self._look_at = 0.0

    def limit(self, max_bytes: int) -> None:
        """Set another bound; files that are larger already are kept until they are the oldest."""
        self._max_bytes = max(max_bytes // FILES, 1)

    def write(self, line: bytes) -> None:
        """Append `line`, which ends in a newline."""
        if self._retry_at is not None and self._clock() < self._retry_at:
            self._lost += 1
            return
        try:
            self._append(line)
        except OSError as error:
            self._lost += 1
            self._give_up(error)
            return
        if self._retry_at is not None:
            self._retry_at = None
            self._on_trouble(f"{self.path} is written again; {self._lost} lines were lost")
            self._lost = 0

    def _append(self, line: bytes) -> None:
        self._let_go_deleted()
        if self._file is None:
            self._open()
        if self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        assert self._file is not None
        written = self._file.write(line) or 0
        if written < len(line):  # a disk that fills up takes part of a line
            self._file.truncate(self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _let_go_deleted(self) -> None:
        """Close a file that was deleted: lines written to it would be lost in silence."""
        now = self._clock()
        if self._file is not None and now >= self._look_at:
            self._look_at = now + LOOK_S
            if os.fstat(self._file.fileno()).st_nlink == 0:
                self.close()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_unlinked(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.set_blocking(descriptor, True)
        self._file = open(descriptor, "ab", buffering=0)  # noqa: SIM115 - stays open until close
        self._size = os.fstat(self._file.fileno()).st_size
        if self._size and not self._ends_in_newline():
            self._size += self._file.write(b"\n") or 0  # a kill left half a line: it must not swallow the next

    def _ends_in_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _rotate(self) -> None:
        self.close()
        for number in range(FILES - 2, 0, -1):
            _move(self._numbered(number), self._numbered(number + 1))
        _move(self.path, self._numbered(1))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _give_up(self, error: OSError) -> None:
        self.close()
        told, self._retry_at = self._retry_at is not None, self._clock() + RETRY_S
        if not told:
            self._on_trouble(f"{self.path} cannot be written ({error.strerror}): lines are lost until it can")

    def close(self) -> None:
        """Close the file; `write` would open it again."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # what a broken disk says here it has said before
                file.close()


def _move(path: Path, target: Path) -> None:
    with suppress(FileNotFoundError):  # somebody has deleted it
        path.replace(target)
