"""The parts of a soak that judge: each must also see what it is there for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perception.lab.soak.account import Account
from perception.lab.soak.pilot_process import Outage, PilotLog
from perception.lab.soak.record_tail import RecordTail
from perception.lab.soak.restarts import DOWN_S, STEP_S, Restart, Restarter, recoveries
from perception.lab.soak.steadiness import Sample, ends_of, sample
from perception.system.bounded_file import BoundedFile


def record(frame_id: int, dropped: int = 0, total_ms: float = 2.0) -> bytes:
    stamp = f"2026-11-22T07:20:{frame_id // 10 % 60:02}.{frame_id % 10}00+00:00"
    values = {"ts": stamp, "frame_id": frame_id, "total_ms": total_ms, "age_ms": 2 * total_ms, "dropped": dropped}
    return json.dumps(values).encode() + b"\n"


def account_of(*records: bytes) -> Account:
    account = Account()
    account.add(records)
    return account


def test_frames_that_were_processed_or_dropped_are_accounted_for() -> None:
    account = account_of(record(2, dropped=2), record(3), record(5, dropped=1))
    assert (account.captured, account.processed, account.dropped) == (6, 3, 3)
    assert account.faults() == []
    assert account.differences(lines=3, summary=(0, 3)) == []


@pytest.mark.parametrize(
    ("records", "fault"),
    [
        ((record(0), record(2)), "1 missing"),
        ((record(1), record(2)), "1 missing"),
        ((record(0), record(1), record(0)), "1 times ids went back"),
        ((record(0), b"{\n"), "1 broken records"),
        ((record(0), record(1, dropped=4)), "4 unaccounted for"),
    ],
)
def test_a_frame_that_is_not_accounted_for_shows(records: tuple[bytes, ...], fault: str) -> None:
    assert fault in account_of(*records).faults()


def test_records_that_the_log_knows_nothing_of_show() -> None:
    account = account_of(*map(record, range(10)))
    assert account.differences(lines=10, summary=(5, 0)) == []
    assert account.differences(lines=12, summary=(4, 3)) == [
        "2 more lines than records",
        "-1 more frames in the summary",
        "3 more drops in the summary",
    ]


def test_drift_compares_the_first_and_the_last_tenth() -> None:
    account = account_of(*(record(number, total_ms=1.0 if number < 50 else 4.0) for number in range(100)))
    drift = account.drift()
    assert drift["total_ms"] == {"first": dict(p50=1, p99=1, max=1), "last": dict(p50=4, p99=4, max=4)}
    assert drift["age_ms"]["last"]["p50"] == 8
    assert account_of(record(0)).drift() == {}


@pytest.mark.parametrize("every", [1, 7, 25])
def test_records_are_followed_from_file_to_file(tmp_path: Path, every: int) -> None:
    path = tmp_path / "frames.jsonl"
    file = BoundedFile(path, 4 * 1000, lambda _: None)  # some ten lines a file
    tail, read = RecordTail(path), b""
    assert b"".join(tail.read()) == b""
    lines = [record(number) for number in range(200)]
    for number, line in enumerate(lines):
        file.write(line)
        if number % every == 0:
            read += b"".join(tail.read())
    read += b"".join(tail.read())
    assert read == b"".join(lines)
    assert path.with_name("frames.jsonl.3").exists()
    tail.close()
    file.close()


def test_records_that_were_replaced_unread_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    file, tail, account = BoundedFile(path, 4 * 1000, lambda _: None), RecordTail(path), Account()
    for number in range(200):
        file.write(record(number))
        if number in (0, 199):
            account.add(tail.read())
    assert account.processed < 100
    assert account.faults() == [f"{200 - account.processed} missing"]
    tail.close()
    file.close()


def test_half_a_line_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    tail, whole = RecordTail(path), record(0)
    path.write_bytes(whole[:10])
    assert list(tail.read()) == []
    with path.open("ab") as file:
        file.write(whole[10:])
    assert b"".join(tail.read()) == whole
    tail.close()


GROWING = """
import sys, threading
held, over = [], threading.Event()
print("ready", flush=True)
sys.stdin.readline()
held.append(bytearray(b"x" * (32 << 20)))
held.append(open("/dev/null"))
thread = threading.Thread(target=over.wait)
thread.start()
print("grown", flush=True)
sys.stdin.readline()
over.set()
"""


def test_a_process_that_grows_is_seen_to_grow() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GROWING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        before = sample(process.pid, 0.0, live=True)
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        after = sample(process.pid, 1.0, live=True)
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait()
        assert before and after
        assert 32 <= after.anonymous_mib - before.anonymous_mib < 40
        assert after.memory_mib > before.memory_mib + 30
        assert (after.threads, after.descriptors) == (before.threads + 1, before.descriptors + 1)
        assert before.pss_mib <= before.rss_mib
    assert sample(process.pid, 2.0, live=True) is None


def steady(at_s: float, mib: float = 100.0, threads: int = 6, live: bool = True) -> Sample:
    return Sample(at_s, mib, mib, mib, 0.0, threads, 10, 0.0, live)


def test_the_ends_are_compared_after_the_warm_up() -> None:
    warm = [steady(at_s, mib=50) for at_s in range(600)]
    ends = ends_of([*warm, *(steady(600 + at_s, mib=100 + at_s / 100) for at_s in range(1000))], 600, every_s=0)
    assert ends
    assert ends.growth == pytest.approx(0.09, abs=0.005)
    assert len(ends.first) == len(ends.last) == 100
    assert ends.memory_mib()[0] == pytest.approx(100.5, abs=0.1)


def test_swapped_memory_has_not_been_freed() -> None:
    samples = [steady(at_s)._replace(rss_mib=100 - at_s, swap_mib=2 * at_s) for at_s in range(100)]
    ends = ends_of(samples, 0, every_s=0)
    assert ends and ends.growth > 0.5


def test_an_outage_says_nothing_of_threads() -> None:
    samples = [steady(at_s, threads=6 if at_s < 195 else 4, live=at_s < 195) for at_s in range(200)]
    ends = ends_of(samples, 100, every_s=20)
    assert ends and ends.threads() == (6, 6)
    assert len(ends.first) == 40, "two restarts at least"


def test_one_thread_more_at_the_end_shows() -> None:
    ends = ends_of([steady(at_s, threads=6 + (at_s >= 150)) for at_s in range(200)], 0, every_s=0)
    assert ends and ends.threads() == (6, 7)


@pytest.mark.parametrize("count", [0, 100, 107])
def test_a_run_that_is_too_short_tells_nothing(count: int) -> None:
    assert ends_of([steady(at_s) for at_s in range(count)], 100, every_s=0) is None


class FakeCamera:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def kill(self) -> None:
        self.calls.append("kill")

    def start_again(self) -> None:
        self.calls.append("start")


def test_the_camera_dies_and_comes_back_in_time_to_be_seen() -> None:
    camera = FakeCamera()
    restarter = Restarter(camera, 30, now=1000, ends_at=1120, clock=lambda: 7.0)
    for now in range(1000, 1121):
        restarter.tick(now)
    assert camera.calls == ["kill", "start"] * 3
    assert restarter.done == [Restart(1000 + 30 * number, 7.0) for number in (1, 2, 3)]


def test_a_restart_is_over_with_the_first_frame_after_it() -> None:
    restarts = [Restart(100.0, 102.0), Restart(200.0, 202.0)]
    outages = [Outage(100.1, 104.0, 2.4), Outage(200.1, 209.0, 2.0)]
    first, second = recoveries(restarts, outages, now=300)
    assert (first.took_s, first.allowed_s, first.in_time) == (2.0, 2.4 + STEP_S, True)
    assert (second.took_s, second.in_time) == (7.0, False)


def test_a_restart_without_an_end_shows_unless_it_has_just_begun() -> None:
    restarts = [Restart(100.0, 102.0), Restart(200.0, 202.0)]
    outages = [Outage(100.1, None, 1.0)]
    assert [one.took_s for one in recoveries(restarts, outages, now=204)] == [None]
    found = recoveries(restarts, outages, now=210)
    assert [(one.noticed, one.took_s, one.in_time) for one in found] == [(True, None, False)] * 2
    assert recoveries([Restart(100.0)], [], now=100 + DOWN_S) == []
    assert [one.noticed for one in recoveries(restarts[:1], [], now=300)] == [False]


def test_the_log_tells_when_the_source_went_and_came() -> None:
    log, frame = PilotLog(), "2026-11-22 08:00:00.000 INFO    Vehicle detection: 2 vehicles in 1.0ms | frame 1"
    told = (
        (1, "2026-11-22 08:00:00.000 INFO    Source live: rtsp://camera/road (640x360 at 15 fps)"),
        (2, frame),
        (10, "2026-11-22 08:00:00.000 WARNING Source lost after 8.0 s: gone. Reconnecting to rtsp://camera/road"),
        (10.5, frame),  # one that was under way
        (11, "2026-11-22 08:00:00.000 DEBUG   Next attempt to open rtsp://camera/road in 1.2 s"),
        (12, "2026-11-22 08:00:00.000 DEBUG   Next attempt to open rtsp://camera/road in 2.3 s"),
        (14, "2026-11-22 08:00:00.000 INFO    Source live after 4.0 s: rtsp://camera/road (640x360 at 15 fps)"),
        (14.1, frame),
        (15, "2026-11-22 08:00:00.000 INFO    Latency over 12 frames: p50 1.0 ms | 9.0 fps | dropped 3 (20.0%)"),
    )
    for now, line in told:
        log.take(line, now)
    assert log.outages == [Outage(10, 14.1, 2.3)]
    assert (log.frames, log.first_frame_at, log.live_since) == (3, 2, 14.1)
    assert log.summary == (12, 3)
    assert len(log.warnings) == 1


def test_a_short_run_is_compared_by_its_halves() -> None:
    ends = ends_of([steady(18 + at_s / 2) for at_s in range(40)], 18, every_s=0)
    assert ends and len(ends.first) + len(ends.last) == 40
