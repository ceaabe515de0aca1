"""Moments: stamps of records, what a person types, and the bounds they make."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.errors import SettingsError
from perception.workshop.latency.columns import NO_TIME
from perception.workshop.latency.moments import Stamps, asked_moment, record_moments
from perception.workshop.latency.reading import Wish
from tests.workshop.latency.runs import NOW, START_S, figures_of, outcome_of, steady, write

MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2099, 12, 31), timezones=st.just(timezone.utc))


@settings(max_examples=50, deadline=None)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=20))
def test_the_stamps_of_records_are_read_to_the_millisecond(moments: list[datetime]) -> None:
    stamps = [moment.isoformat(timespec="milliseconds") for moment in moments]
    expected = [round(datetime.fromisoformat(stamp).timestamp() * 1000) for stamp in stamps]
    assert record_moments(stamps).tolist() == expected


def test_other_forms_of_a_stamp_are_read_one_by_one_and_what_is_none_has_no_time() -> None:
    stamps = ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00.500+01:00", "2026-02-30T00:00:00.000+00:00", "soon", ""]
    expected = 1767225600000
    assert record_moments(stamps).tolist() == [expected, expected + 500, NO_TIME, NO_TIME, NO_TIME]
    assert record_moments(["2026-02-30T00:00:00.000+00:00"]).tolist() == [NO_TIME]
    assert record_moments(["2026-02-03T24:00:00.000+00:00"]).tolist() == [NO_TIME]


def test_a_stamp_without_a_year_lies_before_now() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc).astimezone()
    stamps = Stamps(now)
    for text, year in (("Feb 28 10:00:00 host", 2026), ("Dec 31 23:59:59 host", 2025), ("Feb 29 10:00:00 host", 2024)):
        assert datetime.fromtimestamp(stamps.read(text) / 1000).year == year
    assert stamps.read("Foo 31 23:59:59 host") == NO_TIME
    assert stamps.read("[    1.132000] jetson vehicle-pilot[123]:") == NO_TIME


LOCAL = NOW.astimezone()
TODAY = LOCAL.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("-2h", NOW - timedelta(hours=2)),
        ("-90s", NOW - timedelta(seconds=90)),
        ("-1h30min", NOW - timedelta(minutes=90)),
        ("10min ago", NOW - timedelta(minutes=10)),
        ("10 minutes ago", NOW - timedelta(minutes=10)),
        ("2 days ago", NOW - timedelta(days=2)),
        ("1.5 hours ago", NOW - timedelta(minutes=90)),
        ("today", TODAY.astimezone()),
        ("yesterday", (TODAY - timedelta(days=1)).astimezone()),
        ("7:20", TODAY.replace(hour=7, minute=20).astimezone()),
        ("07:20:05", TODAY.replace(hour=7, minute=20, second=5).astimezone()),
        ("2026-09-01", datetime(2026, 9, 1).astimezone()),
        ("2026-09-01 07:20", datetime(2026, 9, 1, 7, 20).astimezone()),
        ("2026-09-01T07:20:03+02:00", datetime(2026, 9, 1, 5, 20, 3, tzinfo=timezone.utc)),
        ("2026-09-01T07:20:03Z", datetime(2026, 9, 1, 7, 20, 3, tzinfo=timezone.utc)),
    ],
)
def test_what_a_person_types(text: str, expected: datetime) -> None:
    assert asked_moment("--since", text, NOW) == round(expected.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "soon", "-", "-2", "-2 parsecs", "ago", "25:00", "2026-13-01", "2h", "-1h x"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--until .* is no moment\. Use 2026-11-22"):
        asked_moment("--until", text, NOW)


def test_only_frames_in_the_time_asked_for_count(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl", steady(300))
    start_ms = round(START_S * 1000)
    wish = Wish(NOW, start_ms + 1000, start_ms + 2000)
    found = figures_of(path, wish=wish)
    assert found["frames"] == 31
    assert found["span_s"] == pytest.approx(1)
    assert figures_of(path, wish=Wish(NOW, start_ms + 9000))["frames"] == 30
    assert figures_of(path, wish=Wish(NOW, until_ms=start_ms))["frames"] == 1
    with pytest.raises(SettingsError, match="no frame lies in the time asked for"):
        outcome_of(path, wish=Wish(NOW, since_ms=start_ms + 60_000))
