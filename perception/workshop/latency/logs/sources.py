"""Files and streams of logs: their kinds, their order, and their lines in blocks."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any, Protocol, cast

from perception.core.errors import SettingsError
from perception.reporting.lines import FRAME
from perception.workshop.latency.plain import printable

BLOCK = 2 * 2**20
PIECE = 2**17
ZSTD_CHUNK = 2**14
LONGEST_LINE = 2**20
"""A longer line cannot be the pilot's; it is skipped without being held in memory."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_FAMILIES = ("frames.jsonl", "pilot.log")
WANTED = "It takes frames.jsonl, pilot.log and what `journalctl -u vehicle-pilot` prints, also compressed, or `-`."


class Kind(Enum):
    """The kinds of log lines."""

    RECORDS = "records"
    TEXT = "text"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Log:
    """A log to read. path: None for the standard input. size: of the file, in bytes; None where unknown."""

    path: Path | None
    size: int | None
    packed: str | None = None

    @property
    def name(self) -> str:
        """The path for people, or "the standard input"."""
        return printable(str(self.path)) if self.path else "the standard input"


def expand(given: list[str]) -> list[Log]:
    """Return the logs of files, of folders (frames.jsonl, else pilot.log) and of `-`, each file once.

    Raises SettingsError for a name that is none of these, or that cannot be read.
    """
    logs: dict[object, Log] = {}
    for name in given:
        if name == "-":
            logs["-"] = Log(None, None)
            continue
        path = Path(name)
        try:
            paths = _family(path) if path.is_dir() else [path]
            for one in paths:
                logs[one.resolve()] = _log(one)
        except OSError as error:
            raise SettingsError(f"{printable(name)} cannot be read ({error.strerror or error})", WANTED) from error
        except ValueError as error:  # a NUL in the name
            raise SettingsError(f"{name!r} is no name of a file") from error
    return list(logs.values())


def _family(folder: Path) -> list[Path]:
    for stem in _FAMILIES:
        pattern = re.compile(re.escape(stem) + r"([.-]\d+)?(\.(gz|xz|bz2|zst))?")
        if found := sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_file()):
            return found
    raise SettingsError(f"{printable(str(folder))} has neither frames.jsonl nor pilot.log", WANTED)


def _log(path: Path) -> Log:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe can be opened once, and tells neither size nor beginning
        return Log(path, None)
    with path.open("rb") as file:
        head = file.read(6)
        size = file.seek(0, io.SEEK_END)
    packed = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    return Log(path, size, packed)


class Source:
    """The bytes of a log, unpacked."""

    def __init__(self, raw: IO[bytes], packed: str | None) -> None:
        """packed: how `raw` is packed. Raises SettingsError for a packing that this Python cannot read."""
        self._raw = raw
        self._stream = _UNPACK[packed](raw) if packed else None
        self._fault: Exception | None = None
        self._place = 0
        self._seekable = raw.seekable()

    def read(self, size: int) -> bytes:
        """Return about so many bytes; none at the end. Raises OSError for what cannot be read or unpacked.

        A packed file is read in small pieces, so that all is given that comes before a fault.
        """
        if self._stream is None:
            return self._raw.read(size)
        if self._fault:
            raise self._fault
        parts: list[bytes] = []
        length = 0
        try:
            while length < size and (part := self._stream.read1(PIECE)):
                parts.append(part)
                length += len(part)
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as fault:
            self._fault = OSError(str(fault))
            if not parts:
                raise self._fault from fault
        return b"".join(parts)

    def moved(self) -> int:
        """Return the bytes of the file, as stored, that were read since the last call; 0 for a pipe."""
        before, self._place = self._place, self._raw.tell() if self._seekable else 0
        return self._place - before


@contextmanager
def open_log(log: Log) -> Iterator[Source]:
    """The bytes of the log. Raises SettingsError where it cannot be opened or unpacked."""
    try:
        raw = cast("IO[bytes]", sys.stdin.buffer if log.path is None else log.path.open("rb"))
    except OSError as error:
        raise SettingsError(f"{log.name} cannot be read ({error.strerror})", WANTED) from error
    try:
        yield Source(raw, _packing_of_stream(raw) if log.size is None else log.packed)
    finally:
        if log.path is not None:
            raw.close()


def _packing_of_stream(raw: IO[bytes]) -> str | None:
    head = raw.peek(6)[:6] if isinstance(raw, io.BufferedReader) else b""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


class _Zstd:
    """Unpacks zstd. The package's own stream reader takes a file that was cut short for a whole one."""

    def __init__(self, raw: IO[bytes]) -> None:
        try:
            import zstandard
        except ModuleNotFoundError as missing:
            cure = "pip install zstandard, or unpack it: zstd -dc FILE | python3 scripts/latency_report.py -"
            raise SettingsError(
                "A file packed by zstd needs the package zstandard, which is not installed", cure
            ) from missing
        self._raw = raw
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._error: type[Exception] = zstandard.ZstdError
        self._frame = self._new()
        self._rest = b""
        self._inside = False

    def read1(self, _: int) -> bytes:
        """Return some bytes, none at the end. EOFError for an end inside a frame, OSError where it is not zstd."""
        while chunk := self._rest or self._raw.read(ZSTD_CHUNK):
            try:
                found = self._frame.decompress(chunk)
            except self._error as error:
                raise OSError(str(error)) from error
            self._inside, self._rest = not self._frame.eof, b""
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, self._new()
            if found:
                return bytes(found)
        if self._inside:
            raise EOFError("it ends inside a frame of zstd")
        return b""


class Unpacked(Protocol):
    """A packed file, read piece by piece."""

    def read1(self, size: int, /) -> bytes: ...


_UNPACK: dict[str, Callable[[Any], Unpacked]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "xz": lzma.LZMAFile,
    "bzip2": bz2.BZ2File,
    "zstd": _Zstd,
}


class Blocks:
    """Iterates over whole lines, in blocks of some MiB. A line that is too long is left out and counted.

    cut: why a packed file ends early or cannot be unpacked further; what came before was given.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.too_long = 0
        self.cut: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        rest, skipping = b"", False
        while chunk := self._read():
            if skipping:
                start = chunk.find(b"\n") + 1
                skipping, chunk = not start, chunk[start:] if start else b""
            block = rest + chunk
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            if block:
                yield from self._without_long(block)
            if len(rest) > LONGEST_LINE:
                rest, skipping = b"", True
                self.too_long += 1
        if rest:
            yield rest

    def _without_long(self, block: bytes) -> Iterator[bytes]:
        """Yield the lines of a block, but for those that are too long."""
        start = place = 0
        while len(block) - place > LONGEST_LINE:
            found = block.rfind(b"\n", place, place + LONGEST_LINE + 1) + 1
            if not found:
                if place > start:
                    yield block[start:place]
                start = found = block.index(b"\n", place) + 1
                self.too_long += 1
            place = found
        if start < len(block):
            yield block[start:]

    def _read(self) -> bytes:
        try:
            return self._source.read(BLOCK)
        except OSError as error:
            self.cut = str(error)
            return b""


_MARKS = re.compile(rb'"total_ms"|"MESSAGE"|' + FRAME.encode())


def kind_of(block: bytes) -> Kind | None:
    """Return the kind that the first line of the pilot shows; None where there is no such line."""
    found = _MARKS.search(block)
    if found is None:
        return None
    start = block.rfind(b"\n", 0, found.start()) + 1
    end = block.find(b"\n", found.end())
    line = block[start : end if end >= 0 else None]
    if b'"MESSAGE"' in line and b"__REALTIME_TIMESTAMP" in line:
        return Kind.JOURNAL
    return Kind.RECORDS if b'"total_ms"' in line and FRAME.encode() not in line else Kind.TEXT
