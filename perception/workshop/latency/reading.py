"""Reads logs into one tally, in the order of their first frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from perception.core.errors import PilotError, SettingsError
from perception.workshop.latency.columns import NO_TIME, Columns
from perception.workshop.latency.logs.sources import WANTED, Blocks, Kind, Log, kind_of, open_log
from perception.workshop.latency.logs.text import JournalReader, TextReader
from perception.workshop.latency.moments import local
from perception.workshop.latency.records import RecordReader
from perception.workshop.latency.tally import LatencyTally

OVERLAP_MS = 1000
_LATE_MS = 2**62
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Query:
    """The frames to count. since_ms, until_ms: Unix milliseconds, None for an open end. now: with a zone."""

    now: datetime
    since_ms: int | None = None
    until_ms: int | None = None
    gap_ms: int = 1000


@dataclass
class Outcome:
    """A tally, the names of its logs, and warnings about how it came about."""

    tally: LatencyTally
    names: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


LineReader = RecordReader | JournalReader | TextReader


def _line_reader(kind: Kind, now: datetime) -> LineReader:
    if kind is Kind.RECORDS:
        return RecordReader()
    return JournalReader() if kind is Kind.JOURNAL else TextReader(now)


def read(logs: list[Log], query: Query, advance: Advance = lambda _: None) -> Outcome:
    """Count the frames of the logs, the log with the earliest frame first; streams come last.

    advance: takes the bytes read since the last call. Raises SettingsError where there is no frame at all, or
    a log cannot be read.
    """
    outcome = Outcome(LatencyTally(query.gap_ms), [log.name for log in logs])
    streams: list[tuple[Log, Kind | None]] = [(log, None) for log in logs if log.size is None]
    for log, kind in [*_in_order(logs, query.now), *streams]:
        _count(outcome, log, kind, query, advance)
    if not outcome.tally.frames:
        raise _nothing(outcome, query)
    return outcome


def _nothing(outcome: Outcome, query: Query) -> PilotError:
    names = ", ".join(outcome.names[:3]) + (", ..." if len(outcome.names) > 3 else "")
    tally = outcome.tally
    if query.since_ms is not None or query.until_ms is not None:
        return SettingsError(f"{names}: no frame lies in the time asked for", "Widen --since and --until.")
    if outcome.warnings:
        return SettingsError(f"{names}: no frame can be read. {outcome.warnings[0]}")
    lines = tally.broken + tally.other
    if not lines:
        return SettingsError(f"{names}: empty, there is no frame to report", WANTED)
    return SettingsError(f"{names}: none of {lines:,} lines is a frame of the pilot", WANTED)


def _in_order(logs: list[Log], now: datetime) -> list[tuple[Log, Kind | None]]:
    """Return the files, each with its kind, the earliest frame first; as they were given where one tells no times.

    The kind is None where it shows in reading.
    """
    heads = [(log, *_head(log, now)) for log in logs if log.size is not None]
    if all(first_ms != NO_TIME for *_, first_ms in heads):
        heads.sort(key=lambda head: head[2])
    return [(log, kind) for log, kind, _ in heads]


def _head(log: Log, now: datetime) -> tuple[Kind | None, int]:
    """Return the kind of a log and the moment of its first frame: NO_TIME for none, _LATE_MS for no frame."""
    with open_log(log) as source:
        for block in Blocks(source):
            kind = kind_of(block)
            found = _line_reader(kind, now).read(block) if kind else None
            if found is not None:
                return kind, int(found.at_ms[0])
    return None, _LATE_MS


def _count(outcome: Outcome, log: Log, kind: Kind | None, query: Query, advance: Advance) -> None:
    """Count the frames of a log. Raises SettingsError where it cannot be read, or lacks times that are asked for."""
    tally, reader, untimed = outcome.tally, None, 0
    before, latest_ms, first_ms = tally.frames, tally.sequence.latest_ms, _LATE_MS
    with open_log(log) as source:
        blocks = Blocks(source)
        for block in blocks:
            kind = kind or kind_of(block)
            if kind is None:
                tally.other += sum(bool(line.strip()) for line in block.split(b"\n"))
                advance(source.moved())
                continue
            reader = reader or _line_reader(kind, query.now)
            columns = reader.read(block)
            if columns is not None:
                untimed += int((columns.at_ms == NO_TIME).sum())
                columns = _asked_for(columns, log, query)
                first_ms = int(columns.at_ms[columns.at_ms != NO_TIME].min(initial=first_ms))
                tally.add(columns)
            advance(source.moved())
    if first_ms < latest_ms - OVERLAP_MS:
        outcome.warnings.append(
            f"{log.name} begins at {local(first_ms)}, before the others end: frames that are in two logs count twice"
        )
    if reader:
        tally.broken += reader.broken
        tally.other += reader.other
        outcome.warnings += _untimed(log, untimed, tally.frames - before, reader.unread)
    tally.broken += blocks.too_long
    if blocks.cut:
        outcome.warnings.append(f"{log.name} is damaged or cut short ({blocks.cut}): what came before it counts")


def _untimed(log: Log, untimed: int, frames: int, head: str) -> list[str]:
    """Return a warning where lines have a time that cannot be read, or some have one and others have none."""
    if not untimed or (untimed == frames and not head):
        return []
    first = f" (the first line begins with {head.strip()!r})" if head else ""
    return [
        f"{log.name}: the time of {untimed:,} of {frames:,} frames could not be read{first}: they are left out of "
        "span, fps and gaps. `journalctl -o short-iso` and `-o json` have times in every language"
    ]


def _asked_for(columns: Columns, log: Log, query: Query) -> Columns:
    limited = query.since_ms is not None or query.until_ms is not None
    if limited and (columns.at_ms == NO_TIME).any():
        raise SettingsError(
            f"{log.name} has lines without a time, so --since and --until cannot be used",
            "Print the journal with `-o short-iso` or `-o json`.",
        )
    return columns.between(query.since_ms, query.until_ms)
