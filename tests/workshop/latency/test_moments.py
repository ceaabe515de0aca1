"""Moments: stamps of records, what a person types, and the bounds they make."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.core.errors import SettingsError
from perception.system.home import ROOT
from perception.workshop.latency.columns import NO_TIME
from perception.workshop.latency.moments import Stamps, asked_moment, record_moments
from perception.workshop.latency.reading import Query
from tests.workshop.latency.runs import NOW, START_S, figures_of, outcome_of, steady, write

SCRIPT = ROOT / "scripts" / "latency_report.py"
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


@pytest.mark.parametrize(
    ("stamp", "month"),
    [
        ("Dez 01", 12), ("Mär 03", 3), ("M\N{REPLACEMENT CHARACTER}r 03", 3), ("Okt  5", 10), ("déc. 01", 12),
        ("juil. 14", 7), ("juin 14", 6), ("août 14", 8), ("ene 01", 1), ("dic 31", 12), ("gen 01", 1), ("set 01", 9),
        ("11月 30", 11), (" 1月  2", 1), ("11월 30", 11), ("ноя 30", 11), ("май 09", 5), ("мая 09", 5), ("Ağu 30", 8),
        ("paź 03", 10), ("říj 03", 10), ("mei 05", 5), ("NOV 30", 11), ("Nov 30", 11), ("Μαι 01", 5),
    ],
)  # fmt: skip
def test_months_are_known_in_other_languages(stamp: str, month: int) -> None:
    stamps = Stamps(NOW.astimezone())
    found = datetime.fromtimestamp(stamps.read(f"{stamp} 07:20:58 host vehicle-pilot[1]: ") / 1000)
    assert (found.month, found.hour, found.minute, found.second) == (month, 7, 20, 58)
    assert stamps.unread == ""


def test_a_time_that_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    lines = [step.line() for step in steady(10)]
    path = tmp_path / "journal.txt"
    path.write_text("".join(f"Foo 30 07:20:0{number} host pilot[1]: {line}\n" for number, line in enumerate(lines)))
    found = figures_of(path)
    assert (found["frames"], found["span_s"]) == (10, None)
    (warning,) = found["warnings"]
    assert "the time of 10 of 10 frames could not be read (the first line begins with 'Foo 30 07:20:00 host" in warning
    assert "-o short-iso" in warning
    path.write_text(path.read_text().replace("Foo 30 07:20:00", "Nov 30 07:20:00"))
    (warning,) = figures_of(path)["warnings"]
    assert "the time of 9 of 10 frames" in warning
    path.write_text("".join(f"{line}\n" for line in lines))
    assert figures_of(path)["warnings"] == [], "`-o cat` has no times, and the report says so"


ODD = ["0001-01-01", "0000-00-00", "9999-12-31", "2262-04-12", "2026-02-30", "2026-13-01", "1970-01-01", "1969-12-31"]


@pytest.mark.parametrize("day", ODD)
def test_odd_stamps_are_stood(tmp_path: Path, day: str) -> None:
    records = "".join(step.record() for step in steady(20))
    one = records.splitlines()[3]
    odd = re.sub(r'"ts":"[^"]*"', f'"ts":"{day}T00:00:05.000+00:00"', one)
    path = tmp_path / "frames.jsonl"
    path.write_text(f"{odd}\n{records}{odd}\n")
    assert 20 <= figures_of(path)["frames"] <= 22
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    for stamp in (f"{day} 00:00:05.000", f"{day}T23:59:60+14:00", "99999999999.999999", "Feb 30 99:99:99"):
        path.write_text("".join(f"{stamp} INFO {step.line()}\n" for step in steady(5)))
        assert figures_of(path)["frames"] == 5
    for number in (0, 10**17, 10**18 - 1):
        line = json.dumps({"__REALTIME_TIMESTAMP": str(number), "MESSAGE": steady(1)[0].line()})
        path.write_text(f"{line}\n" * 3)
        assert figures_of(path)["frames"] == 3


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


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-", "-2", "-2 parsecs", "ago", "25:00", "2026-13-01", "2h", "-1h x", f"-{10**30}w", f"-{'9' * 400}s"],
)
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--until .* is no moment\. Use 2026-11-22"):
        asked_moment("--until", text, NOW)


def test_only_frames_in_the_time_asked_for_count(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl", steady(300))
    start_ms = round(START_S * 1000)
    query = Query(NOW, start_ms + 1000, start_ms + 2000)
    found = figures_of(path, query=query)
    assert found["frames"] == 31
    assert found["span_s"] == pytest.approx(1)
    assert figures_of(path, query=Query(NOW, start_ms + 9000))["frames"] == 30
    assert figures_of(path, query=Query(NOW, until_ms=start_ms))["frames"] == 1
    with pytest.raises(SettingsError, match="no frame lies in the time asked for"):
        outcome_of(path, query=Query(NOW, since_ms=start_ms + 60_000))
