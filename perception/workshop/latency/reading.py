"""Reads logs into one tally: large files of records by several processes, with the same result as by one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from perception.errors import PilotError, SettingsError
from perception.workshop.latency.columns import NO_TIME, Columns
from perception.workshop.latency.moments import local
from perception.workshop.latency.records import RecordReader
from perception.workshop.latency.sources import WANTED, Blocks, Kind, Log, Source, kind_of, open_log
from perception.workshop.latency.tally import Tally
from perception.workshop.latency.text import JournalReader, TextReader

PART = 64 * 2**20
"""So many bytes of a file of records are one task of a process."""
OVERLAP_MS = 1000
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to count. since_ms, until_ms: Unix milliseconds, None for an open end. now: with a zone."""

    now: datetime
    since_ms: int | None = None
    until_ms: int | None = None
    gap_ms: int = 1000


@dataclass
class Outcome:
    """A tally, the names of the logs it comes from, and what a person should know of how it came about."""

    tally: Tally
    names: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class LineReader(Protocol):
    """Turns blocks of whole lines into columns. broken: lines that should be frames; other: lines that need not be."""

    @property
    def broken(self) -> int: ...

    @property
    def other(self) -> int: ...

    def read(self, block: bytes) -> Columns | None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """Whole lines of a log: `length` bytes from `start`, or all for None. kind: None where it shows in reading."""

    log: Log
    kind: Kind | None
    start: int = 0
    length: int | None = None


def _line_reader(kind: Kind, now: datetime) -> LineReader:
    if kind is Kind.RECORDS:
        return RecordReader()
    return JournalReader() if kind is Kind.JOURNAL else TextReader(now)


def read(logs: list[Log], wish: Wish, jobs: int, advance: Advance = lambda _: None, part_bytes: int = PART) -> Outcome:
    """Counts the frames of the logs, the log with the earliest frame first; streams come last.

    jobs: processes. advance: told the bytes that were read since the last call. Raises SettingsError where there is no
    frame at all, or a log cannot be read.
    """
    outcome = Outcome(Tally(wish.gap_ms), [log.name for log in logs])
    parts = list(_parts(_in_order(logs, wish.now), part_bytes))
    done = (
        _by_pool(parts, wish, jobs) if jobs > 1 and len(parts) > 1 else (count(part, wish, advance) for part in parts)
    )
    for part, found in zip(parts, done):
        if jobs > 1 and len(parts) > 1:
            advance(part.length or part.log.size or 0)
        _join(outcome, part, found)
    streams = [Part(log, None) for log in logs if log.size is None]
    for part in streams:
        _join(outcome, part, count(part, wish, advance))
    if not outcome.tally.frames:
        raise _nothing(outcome, wish)
    return outcome


def _join(outcome: Outcome, part: Part, found: Outcome) -> None:
    before, after = outcome.tally.sequence, found.tally.sequence
    known = before.latest_ms != NO_TIME and after.earliest_ms != NO_TIME
    if part.start == 0 and known and after.earliest_ms < before.latest_ms - OVERLAP_MS:
        outcome.warnings.append(
            f"{part.log.name} begins at {local(after.earliest_ms)}, before the others end: frames that are in two logs"
            " count twice"
        )
    outcome.tally.merge(found.tally)
    outcome.warnings += found.warnings


def _nothing(outcome: Outcome, wish: Wish) -> PilotError:
    names = ", ".join(outcome.names[:3]) + (", …" if len(outcome.names) > 3 else "")
    tally = outcome.tally
    if wish.since_ms is not None or wish.until_ms is not None:
        return SettingsError(f"{names}: no frame lies in the time asked for", "Widen --since and --until.")
    if outcome.warnings:
        return SettingsError(f"{names}: no frame can be read. {outcome.warnings[0]}")
    lines = tally.broken + tally.other
    if not lines:
        return SettingsError(f"{names}: empty, there is no frame to report", WANTED)
    return SettingsError(f"{names}: none of {lines:,} lines is a frame of the pilot", WANTED)


def _in_order(logs: list[Log], now: datetime) -> list[Part]:
    """The files, the one with the earliest frame first; as they were given where a log tells no times."""
    heads = [_head(log, now) for log in logs if log.size is not None]
    if all(first_ms != NO_TIME for _, first_ms in heads):
        heads.sort(key=lambda head: head[1])
    return [part for part, _ in heads]


def _head(log: Log, now: datetime) -> tuple[Part, int]:
    """A log with its kind, and the moment of its first frame: NO_TIME for none, a late one for a log without frames."""
    late = 2**62
    with open_log(log) as source:
        for block in Blocks(source):
            kind = kind_of(block)
            found = _line_reader(kind, now).read(block) if kind else None
            if found is not None:
                return Part(log, kind), int(found.at_ms[0])
    return Part(log, None), late


def _parts(parts: Iterable[Part], part_bytes: int) -> Iterator[Part]:
    """Cuts plain files of records at the beginnings of lines."""
    for part in parts:
        log = part.log
        if part.kind is not Kind.RECORDS or log.packed or log.size is None or log.size <= part_bytes:
            yield part
            continue
        start = 0
        with open_log(log) as source:
            while start < log.size:
                end = _line_start(source, start + part_bytes, log.size)
                yield Part(log, part.kind, start, end - start)
                start = end


def _line_start(source: Source, place: int, size: int) -> int:
    """Where the first line begins at or after `place`; the size where there is none."""
    if place >= size:
        return size
    source.seek(place - 1)
    place -= 1
    while chunk := source.read(2**16):
        if (found := chunk.find(b"\n")) >= 0:
            return min(place + found + 1, size)
        place += len(chunk)
    return size


def count(part: Part, wish: Wish, advance: Advance = lambda _: None) -> Outcome:
    """Counts the frames of a part. Raises SettingsError where it cannot be read, or lacks times that are asked for."""
    outcome = Outcome(Tally(wish.gap_ms))
    tally, reader, kind = outcome.tally, None, part.kind
    with open_log(part.log) as source:
        if part.start:
            source.seek(part.start)
        blocks = Blocks(source, part.length)
        for block in blocks:
            kind = kind or kind_of(block)
            if kind is None:
                tally.other += sum(bool(line.strip()) for line in block.split(b"\n"))
                advance(source.moved())
                continue
            reader = reader or _line_reader(kind, wish.now)
            columns = reader.read(block)
            if columns is not None:
                tally.add(_asked_for(columns, part.log, wish))
            advance(source.moved())
    if reader:
        tally.broken += reader.broken
        tally.other += reader.other
    tally.broken += blocks.too_long
    if blocks.cut:
        outcome.warnings.append(f"{part.log.name} is damaged or cut short ({blocks.cut}): what came before it counts")
    return outcome


def _asked_for(columns: Columns, log: Log, wish: Wish) -> Columns:
    limited = wish.since_ms is not None or wish.until_ms is not None
    if limited and (columns.at_ms == NO_TIME).any():
        raise SettingsError(
            f"{log.name} has lines without a time, so --since and --until cannot be used",
            "Print the journal with `-o short-iso` or `-o json`.",
        )
    return columns.between(wish.since_ms, wish.until_ms)


def _by_pool(parts: list[Part], wish: Wish, jobs: int) -> Iterator[Outcome]:
    """What `count` says of each part, in order. At most two parts a process wait to be taken."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(min(jobs, len(parts)), spawn, _be_quiet) as pool:
        waiting: deque[Future[Outcome]] = deque()
        left = iter(parts)
        try:
            for part in left:
                with _interrupts_blocked():
                    waiting.append(pool.submit(count, part, wish))
                if len(waiting) >= 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as broken:
            raise PilotError(
                "A process that read the log was ended from outside", "Try again with --jobs 1."
            ) from broken
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """What is started in this block inherits the mask: a Ctrl-C must not meet a process before `_be_quiet` does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _be_quiet() -> None:
    """A Ctrl-C at the terminal is for the first process alone, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
