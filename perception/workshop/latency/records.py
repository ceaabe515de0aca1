"""Reads blocks of frames.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np

from perception.workshop.latency.board_reading import reading_of
from perception.workshop.latency.columns import (
    HIGHEST_ID,
    LONGEST_MS,
    LONGEST_NAME,
    NO_TIME,
    TIMES,
    Columns,
    Floats,
    places,
)
from perception.workshop.latency.moments import record_moments
from perception.workshop.latency.plain import printable

Ms = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_MS)]
Count = Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_ID)]
Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]


class Record(msgspec.Struct, gc=False):
    """The fields of a record that a report needs; msgspec passes over the others without making anything of them."""

    ts: Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
    frame_id: Count
    total_ms: Ms
    age_ms: Ms | None = None
    preprocess_ms: Ms | None = None
    infer_ms: Ms | None = None
    postprocess_ms: Ms | None = None
    dropped: Count = 0
    backend: Name = ""
    precision: Name = ""
    board: dict[str, Any] | None = None


_FIELDS: dict[str, Callable[[Record], Any]] = {name: attrgetter(f"{name}_ms") for name in TIMES}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SERVED = attrgetter("backend", "precision")


class RecordReader:
    """Turns lines of frames.jsonl into columns, and counts those that are not a record."""

    def __init__(self) -> None:
        self.broken = 0
        self.other = 0
        self.unread = ""
        self._decoder = msgspec.json.Decoder(Record)

    def read(self, block: bytes) -> Columns | None:
        """Return the frames of a block of whole lines; None where it has none."""
        records = self._decode(block)
        if not records:
            return None
        at_ms = record_moments([record.ts for record in records])
        wrong = at_ms == NO_TIME
        if wrong.any():
            self.broken += int(wrong.sum())
            records = [record for record, bad in zip(records, wrong.tolist()) if not bad]
            at_ms = at_ms[~wrong]
            if not records:
                return None
        served, names = _served(records)
        boards = [(row, record.board) for row, record in enumerate(records) if record.board]
        return Columns(
            at_ms,
            np.fromiter((record.frame_id for record in records), np.int64, len(records)),
            np.fromiter((record.dropped for record in records), np.int64, len(records)),
            {name: _times(records, name) for name in TIMES},
            served,
            names,
            np.asarray([row for row, _ in boards], np.int64),
            tuple(reading_of(int(at_ms[row]), board) for row, board in boards),
        )

    def _decode(self, block: bytes) -> list[Record]:
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        try:
            records = self._decoder.decode_lines(block)
        except _UNREADABLE:
            return self._decode_one_by_one(block)
        # decode_lines also takes two records on a line, and one record on two.
        return records if len(records) == lines else self._decode_one_by_one(block)

    def _decode_one_by_one(self, block: bytes) -> list[Record]:
        records = []
        for line in block.split(b"\n"):
            if not line.strip():
                continue
            try:
                records.append(self._decoder.decode(line))
            except _UNREADABLE:
                self.broken += 1
        return records


def _times(records: Sequence[Record], name: str) -> Floats:
    get = _FIELDS[name]
    try:
        return np.fromiter(map(get, records), np.float64, len(records))
    except TypeError:  # a None among them
        return np.asarray([np.nan if get(record) is None else get(record) for record in records], np.float64)


def _served(records: Sequence[Record]) -> tuple[Any, tuple[str, ...]]:
    pairs = list(map(_SERVED, records))
    label = {pair: printable(" ".join(filter(None, pair))) or "unknown" for pair in set(pairs)}
    if len(label) == 1:
        return np.zeros(len(pairs), np.int64), tuple(label.values())
    return places([label[pair] for pair in pairs])
