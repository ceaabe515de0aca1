"""Reads pilot.log and the output of journalctl: the line of each frame, whatever stands before it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import msgspec
import numpy as np

from perception.reporting.lines import FRAME, FRAME_PATTERN, SUMMARY
from perception.workshop.latency.board_reading import MOST_REASONS, Reading
from perception.workshop.latency.columns import (
    HIGHEST_ID,
    LONGEST_MS,
    TIMES,
    Columns,
    places,
)
from perception.workshop.latency.moments import Stamps, bounded
from perception.workshop.latency.plain import printable

TOLD = (FRAME, SUMMARY, "Throttling began: ")

_LINE = re.compile(FRAME_PATTERN)
_TEMPERATURE, _POWER = r"(?:gpu|tj|\w{1,20}) (-?\d{1,3}(?:\.\d+)?) C", r"(\d{1,5}(?:\.\d+)?) W"
_BOARD = re.compile(rf"{SUMMARY}.* \| (?=\S+ -?\d|\d)(?:{_TEMPERATURE})? ?(?:{_POWER})?$")
_THROTTLING = re.compile(rf"Throttling began: ([^()]{{1,200}}) \((?:{_TEMPERATURE})?(?:, )?(?:{_POWER})?")
_ORDER = ("total", *TIMES[:3], "age")


class _FrameLines:
    """Collects frames from messages. broken: lines that should be frames; other: lines that need not be.

    unread: the head of the first line whose time cannot be read, "" for none.
    """

    def __init__(self) -> None:
        self.broken = 0
        self.other = 0
        self.unread = ""
        self._clear()

    def _clear(self) -> None:
        self._at_ms: list[int] = []
        self._ids: list[int] = []
        self._dropped: list[int] = []
        self._served: list[str] = []
        self._times: list[list[float]] = []
        self._board: list[tuple[int, Reading]] = []

    def _add(self, message: str, at_ms: int) -> None:
        """Take one line."""
        found = _LINE.search(message)
        if found is None:
            if FRAME in message:
                self.broken += 1
            else:
                self.other += 1
                self._add_board(message, at_ms)
            return
        times = [float(text) if text else np.nan for text in found.groups()[:5]]
        frame_id, dropped = int(found[6]), int(found[7])
        if max(time for time in times if time == time) > LONGEST_MS or max(frame_id, dropped) > HIGHEST_ID:
            self.broken += 1
            return
        self._at_ms.append(at_ms)
        self._ids.append(frame_id)
        self._dropped.append(dropped)
        self._times.append(times)
        self._served.append(printable(found[8]))

    def _add_board(self, message: str, at_ms: int) -> None:
        """The summary line and the warning that throttling began tell the board's temperature and power."""
        if not self._ids:
            return
        reasons: tuple[str, ...] = ()
        if found := _BOARD.search(message):
            temperature, power = found.groups()
        elif found := _THROTTLING.search(message):
            reasons, temperature, power = tuple(printable(found[1]).split(", ")), found[2], found[3]
        if found:
            self._board.append(
                (len(self._ids) - 1, Reading(at_ms, _number(temperature), _number(power), reasons[:MOST_REASONS]))
            )

    def _columns(self) -> Columns | None:
        """Return the frames since the last call; None where there is none."""
        if not self._ids:
            return None
        served, names = places(self._served)
        times = np.asarray(self._times, np.float64)
        columns = Columns(
            np.asarray(self._at_ms, np.int64),
            np.asarray(self._ids, np.int64),
            np.asarray(self._dropped, np.int64),
            {name: times[:, place] for place, name in enumerate(_ORDER)},
            served,
            names,
            np.asarray([row for row, _ in self._board], np.int64),
            tuple(reading for _, reading in self._board),
        )
        self._clear()
        return columns


def _number(text: str | None) -> float | None:
    return float(text) if text else None


class TextReader(_FrameLines):
    """Reads lines of text: pilot.log, `journalctl -o short`, `short-iso`, `short-precise`, `cat` and their like."""

    def __init__(self, now: datetime) -> None:
        """now: with a zone; a stamp without a year lies in the last year before it."""
        super().__init__()
        self._stamps = Stamps(now)

    def read(self, block: bytes) -> Columns | None:
        """Return the frames of a block of whole lines; None where it has none."""
        for line in block.decode("utf-8", "replace").split("\n"):
            if not line:
                continue
            if any(word in line for word in TOLD):
                head = min((line.find(word) for word in TOLD if word in line), default=0)
                self._add(line, self._stamps.read(line[: min(head, 80)]))
            else:
                self.other += 1
        self.unread = printable(self._stamps.unread)
        return self._columns()


class _Entry(msgspec.Struct, gc=False):
    """An entry of the journal. A message with bytes that are not text comes as a list of numbers."""

    stamp: Annotated[str, msgspec.Meta(pattern=r"^\d{1,18}$")] = msgspec.field(name="__REALTIME_TIMESTAMP")
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)


class JournalReader(_FrameLines):
    """Reads `journalctl -o json`."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = msgspec.json.Decoder(_Entry)

    def read(self, block: bytes) -> Columns | None:
        """Return the frames of a block of whole lines; None where it has none."""
        for line in block.split(b"\n"):
            if not line.strip():
                continue
            try:
                entry = self._decoder.decode(line)
                message = entry.message if isinstance(entry.message, str) else bytes(entry.message or ()).decode()
            except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError also for numbers above 255
                self.broken += 1
                continue
            self._add(message, bounded(int(entry.stamp) // 1000))
        return self._columns()
