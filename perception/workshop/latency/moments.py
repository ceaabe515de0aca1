"""Moments in Unix milliseconds: from records, from the stamps of logs, and from the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

import numpy as np

from perception.core.errors import SettingsError
from perception.workshop.latency.columns import NO_TIME, Integers
from perception.workshop.latency.logs.month_names import month_of

_RECORD_LENGTH = len("2026-11-22T07:20:58.123+00:00")
_TEMPLATE = np.frombuffer(b"0000-00-00T00:00:00.000+00:00", np.uint8)
_DIGITS = np.flatnonzero(_TEMPLATE[:23] == ord("0"))
_SIGNS = np.setdiff1d(np.arange(_RECORD_LENGTH), _DIGITS)
_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?: ?(Z|UTC|[+-]\d\d:?\d\d)\b)?")
# As strftime's "%b %d %H:%M:%S" gives it: the month in the language of whoever printed the journal.
_SHORT = re.compile(r" ?([^\W\d_][^\s\d]{0,11}|\d{1,2}[^\W\d_]) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_CLOCK = re.compile(r"\d\d?:\d\d")
_UNIX = re.compile(r"(\d{9,11})\.(\d{6}) ")
FIRST_MS, LAST_MS = -2 * _DAY_MS, 7_258_118_400_000
"""From before 1970, where a board without a clock battery begins, to 2200; anything else is not a time."""

_UNITS_S = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600}
_UNITS_S.update({"d": 86400, "day": 86400, "w": 604800, "week": 604800})
_LONGEST_S = 1e12
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_EXAMPLES = (
    "Use 2026-11-22, 2026-11-22T07:20 (local, or with +01:00 or Z), 07:20 (today), -2h, '10min ago' or yesterday."
)


def record_moments(stamps: Sequence[str]) -> Integers:
    """Return the `ts` of records, (n,); NO_TIME for one that is not a time.

    The records' own form is read all at once, any other ISO form one by one.
    """
    joined = "".join(stamps)
    if len(joined) == _RECORD_LENGTH * len(stamps) and joined.isascii():
        letters = np.frombuffer(joined.encode(), np.uint8).reshape(len(stamps), _RECORD_LENGTH)
        if (letters[:, _SIGNS] == _TEMPLATE[_SIGNS]).all() and _all_digits(letters):
            found = _columnwise(letters)
            if found is not None:
                return np.where((found >= FIRST_MS) & (found <= LAST_MS), found, NO_TIME)
    return np.fromiter((_iso_moment(stamp) for stamp in stamps), np.int64, len(stamps))


def _all_digits(letters: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> bool:
    return bool(((letters[:, _DIGITS] - ord("0")) <= 9).all())  # what is below "0" wraps round to above 9


def _columnwise(letters: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> Integers | None:
    """Return the moments, (n,); None where a date or a time does not exist."""
    value = (letters - ord("0")).astype(np.int64)

    def number(start: int, end: int) -> Integers:
        return np.asarray(value[:, start:end] @ 10 ** np.arange(end - start - 1, -1, -1), np.int64)

    dates = number(0, 4) * 10000 + number(5, 7) * 100 + number(8, 10)
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    if (hour > 23).any() or (minute > 59).any() or (second > 59).any():
        return None
    days = np.zeros(len(dates), np.int64)
    for day in np.unique(dates).tolist():
        try:
            days[dates == day] = date(day // 10000, day // 100 % 100, day % 100).toordinal() - _EPOCH
        except ValueError:
            return None
    return days * _DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + number(20, 23)


def _iso_moment(stamp: str) -> int:
    try:
        moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
        return bounded(round(moment.timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        return NO_TIME


def bounded(at_ms: int) -> int:
    """Return the moment, or NO_TIME where no clock can have shown it."""
    return at_ms if FIRST_MS <= at_ms <= LAST_MS else NO_TIME


class Stamps:
    """Reads the stamp at the head of a log's lines: pilot.log's own, and those of `journalctl -o short…`.

    A stamp without a zone is local time; one without a year lies in the last year before `now`. The minute of the
    line before is remembered: consecutive lines mostly share it.
    """

    def __init__(self, now: datetime) -> None:
        """now: with a zone."""
        self._now = now
        self._minute = ""
        self._minute_ms = NO_TIME
        self.unread = ""
        """The head of the first line that shows a time, but none that can be read."""

    def read(self, head: str) -> int:
        """Unix milliseconds, or NO_TIME where the line has no stamp."""
        at_ms = self._read(head)
        if at_ms == NO_TIME and not self.unread and _CLOCK.search(head):
            self.unread = head
        return at_ms

    def _read(self, head: str) -> int:
        if found := _ISO.search(head):
            year, month, day, hour, minute, second, fraction, zone = found.groups()
            start = self._start(f"{year}-{month}-{day}T{hour}:{minute}", zone)
        elif found := _SHORT.match(head):
            name, day, hour, minute, second, fraction = found.groups()
            start = self._start_of_short(f"{month_of(name) or 0:02d}-{int(day):02d}T{hour}:{minute}")
        elif found := _UNIX.match(head):
            return bounded(int(found[1]) * 1000 + int(found[2]) // 1000)
        else:
            return NO_TIME
        if start == NO_TIME:
            return NO_TIME
        return start + int(second) * 1000 + int(f"{fraction or '0':0<3}"[:3])

    def _start(self, minute: str, zone: str | None) -> int:
        key = minute + (zone or "")
        if key != self._minute:
            self._minute, self._minute_ms = key, _iso_moment(minute + _offset(zone))
        return self._minute_ms

    def _start_of_short(self, minute: str) -> int:
        if minute != self._minute:
            latest = (self._now + timedelta(days=1)).timestamp() * 1000
            years = range(self._now.year + 1, self._now.year - 5, -1)  # 29 February is in one year of four
            starts = (_iso_moment(f"{year}-{minute}") for year in years)
            self._minute = minute
            self._minute_ms = next((start for start in starts if NO_TIME < start <= latest), NO_TIME)
        return self._minute_ms


def _offset(zone: str | None) -> str:
    if zone is None:
        return ""
    if zone in ("Z", "UTC"):
        return "+00:00"
    return zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"


def asked_moment(flag: str, text: str, now: datetime) -> int:
    """Return the Unix milliseconds of --since or --until as typed. now: with a zone.

    Raises SettingsError where it is not a moment.
    """
    words = text.strip().lower()
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    named = {"now": now, "today": midnight.astimezone(), "yesterday": (midnight - timedelta(days=1)).astimezone()}
    if words in named:
        return round(named[words].timestamp() * 1000)
    if words.startswith("-") or words.endswith("ago"):
        return _before(flag, text, words.removeprefix("-").removesuffix("ago").strip(), now)
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", words):
        words = f"{midnight:%Y-%m-%d}T{words.zfill(5) if words.count(':') == 1 else words.zfill(8)}"
    found = _iso_moment(words.replace("z", "Z"))
    if found == NO_TIME:
        raise SettingsError(f"{flag} {text!r} is no moment", _EXAMPLES)
    return found


def _before(flag: str, text: str, span: str, now: datetime) -> int:
    """Return `now` less a span such as `2h`, `1h30min` or `10 minutes`."""
    seconds, place = 0.0, 0
    while found := _SPAN.match(span, place):
        unit = found[2] if found[2] in _UNITS_S else found[2].removesuffix("s")
        if unit not in _UNITS_S:
            break
        seconds += float(found[1]) * _UNITS_S[unit]
        place = found.end()
    if not span or place < len(span) or not seconds < _LONGEST_S:
        raise SettingsError(f"{flag} {text!r} is no moment", _EXAMPLES)
    return round((now.timestamp() - seconds) * 1000)


def iso(at_ms: int) -> str:
    """Return the moment in UTC, with milliseconds."""
    return _utc(at_ms).isoformat(timespec="milliseconds")


def local(at_ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return the moment as this machine's clock shows it."""
    return _utc(at_ms).astimezone().strftime(form)


def _utc(at_ms: int) -> datetime:
    # Not fromtimestamp: the year of a clock gone wild may be beyond what the C library takes.
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=at_ms)
