"""Follows frames.jsonl while it is written, across rotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

BLOCK = 2**20


class RecordTail:
    """Reads the records appended since the last call, in whole lines and in order.

    It must be read before all older files are replaced: what is gone by then shows as missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""

    def read(self) -> Iterator[bytes]:
        """Yield blocks of whole lines."""
        if self._file is None:
            with suppress(FileNotFoundError):  # the pilot has not begun it yet
                self._file = self._path.open("rb")
        while self._file is not None:
            newer = self._newer(self._file)  # before the file is read: what was renamed grows no more
            yield from self._lines(self._file)
            if newer is None:
                return
            self._file.close()
            self._file = newer

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        while chunk := file.read(BLOCK):
            block = self._rest + chunk
            end = block.rfind(b"\n") + 1
            self._rest = block[end:]
            if end:
                yield block[:end]

    def _newer(self, file: IO[bytes]) -> IO[bytes] | None:
        """Return the file that was begun after this one, open; None where there is none."""
        mine = os.fstat(file.fileno()).st_ino
        newer: IO[bytes] | None = None
        for path in self._newest_first():
            try:
                candidate = path.open("rb")
            except FileNotFoundError:  # between two names: the next call finds it
                if newer is not None:
                    newer.close()
                return None
            if os.fstat(candidate.fileno()).st_ino == mine:
                candidate.close()
                return newer
            if newer is not None:
                newer.close()
            newer = candidate
        return newer

    def _newest_first(self) -> Iterator[Path]:
        yield self._path
        number = 1
        while (path := self._path.with_name(f"{self._path.name}.{number}")).exists():
            yield path
            number += 1
