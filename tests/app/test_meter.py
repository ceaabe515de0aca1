"""The meter: percentiles, drops, windows and rate, on a clock that moves only when told."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.app.meter import BATCH, Meter
from perception.core.detections import Detections
from perception.core.frame import Frame
from perception.core.results import Report, Result, StageTimes, Summary
from tests.doubles.fakes import INFO, FakeClock, make_image

MS = st.floats(0.002, 900_000, allow_nan=False)


def frame(frame_id: int) -> Frame:
    return Frame(make_image(), frame_id, 0.0, "x")


def result(total_ms: float, age_ms: float = 20.0) -> Result:
    return Result(Detections.empty(), StageTimes(), total_ms, age_ms)


def summary_of(meter: Meter) -> Summary:
    found = meter.run()
    assert found is not None
    return found


def play(meter: Meter, clock: FakeClock, times_ms: list[float], step_s: float = 0.1, first_id: int = 0) -> list[Report]:
    """Measures a frame every step_s; each took its total_ms."""
    reports = []
    for offset, total_ms in enumerate(times_ms):
        clock.now += step_s
        reports.append(meter.measure(frame(first_id + offset), result(total_ms, total_ms + 5)))
    return reports


def test_percentiles_of_the_run_equal_those_of_its_frames() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=0)
    times = np.random.default_rng(0).gamma(4, 3, 500).tolist()
    play(meter, clock, times)
    found = summary_of(meter)
    assert found.frames == 500
    for percent, said in ((50, found.p50_ms), (95, found.p95_ms), (99, found.p99_ms)):
        assert said == pytest.approx(np.percentile(times, percent, method="inverted_cdf"), rel=1e-3)
    ages = [total + 5 for total in times]
    assert found.age_p95_ms == pytest.approx(np.percentile(ages, 95, method="inverted_cdf"), rel=1e-3)
    assert found.max_ms == max(times)


def test_a_report_holds_its_frame_result_and_backend() -> None:
    one, taken = frame(0), result(3.0)
    report = Meter(INFO, FakeClock()).measure(one, taken)
    assert report.frame is one
    assert report.result is taken
    assert report.backend is INFO


def test_drops_are_the_gaps_in_the_frame_ids() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock)
    assert [meter.measure(frame(number), result(1)).dropped for number in (0, 1, 4, 5, 9)] == [0, 0, 2, 0, 3]
    found = summary_of(meter)
    assert found.dropped == 5
    assert found.dropped_share == pytest.approx(5 / 10)


def test_frames_lost_before_the_first_one_are_drops_too() -> None:
    meter = Meter(INFO, FakeClock())
    assert meter.measure(frame(3), result(1)).dropped == 3
    assert summary_of(meter).dropped_share == pytest.approx(3 / 4)


@settings(max_examples=50, deadline=None)
@given(gaps=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_processed_and_dropped_add_up_to_captured(gaps: list[int]) -> None:
    meter = Meter(INFO, FakeClock())
    captured = 0
    for gap in gaps:
        captured += gap + 1
        meter.measure(frame(captured - 1), result(1))
    found = summary_of(meter)
    assert len(gaps) + found.dropped == captured
    assert found.dropped_share == pytest.approx(found.dropped / captured)


def test_the_warm_up_is_left_out_of_the_percentiles_only() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=3)
    reports = play(meter, clock, [900, 800, 700, 10, 10, 10])
    clock.now += 0.1
    meter.measure(frame(8), result(10))
    assert len(reports) == 6  # each has its report, hence its line and its record
    found = summary_of(meter)
    assert found.frames == 4
    assert found.max_ms == 10
    assert found.dropped == 2
    assert found.dropped_share == pytest.approx(2 / 9)
    assert found.fps == pytest.approx(10)


def test_a_run_that_ends_in_its_warm_up_has_no_percentiles_but_a_rate_and_drops() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=5)
    play(meter, clock, [10, 10, 10], step_s=0.5)
    found = summary_of(meter)
    assert (found.frames, found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (0, None, None, None, None)
    assert (found.age_p95_ms, found.dropped) == (None, 0)
    assert found.fps == pytest.approx(2)


def test_a_run_without_a_frame_has_no_summary() -> None:
    assert Meter(INFO, FakeClock()).run() is None


@pytest.mark.parametrize("start", [0.0, 1000.0])
def test_one_frame_has_no_rate(start: float) -> None:
    meter = Meter(INFO, FakeClock(start), warmup_frames=0)
    meter.measure(frame(0), result(10))
    assert summary_of(meter).fps is None
    assert summary_of(meter).frames == 1


@pytest.mark.parametrize("start", [0.0, 1000.0])
def test_the_rate_counts_intervals_between_frames_not_frames(start: float) -> None:
    clock = FakeClock(start - 0.04)
    meter = Meter(INFO, clock)
    play(meter, clock, [1] * 26, step_s=0.04)
    assert summary_of(meter).fps == pytest.approx(25)


def test_the_wait_before_the_first_frame_does_not_lower_the_rate() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, window_s=100)
    clock.now += 60
    play(meter, clock, [1] * 11, step_s=0.1)
    assert summary_of(meter).fps == pytest.approx(10)


def test_a_window_has_its_summary_once_at_its_end() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=0, window_s=1.0)
    seen = []
    for number in range(30):
        clock.now += 0.1
        meter.measure(frame(number), result(float(number + 1)))
        seen.append(meter.window())
    ends = [number for number, found in enumerate(seen) if found]
    assert len(ends) in (2, 3)
    assert all(10 <= later - earlier <= 11 for earlier, later in itertools.pairwise(ends))
    first, second = seen[ends[0]], seen[ends[1]]
    assert first
    assert second
    assert first.frames == ends[0] + 1
    assert first.max_ms == ends[0] + 1
    assert second.frames == ends[1] - ends[0]
    assert second.max_ms == ends[1] + 1
    assert second.p50_ms == pytest.approx(np.median(range(ends[0] + 2, ends[1] + 2)), rel=0.06)


def test_windows_keep_their_rate_across_their_borders() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, window_s=1.0)
    rates = []
    for number in range(100):
        clock.now += 0.05
        meter.measure(frame(number), result(1))
        if found := meter.window():
            rates.append(found.fps)
    assert len(rates) >= 4
    assert rates == pytest.approx([20.0] * len(rates))


def test_a_window_counts_its_own_drops_alone() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=0, window_s=1.0)
    meter.measure(frame(4), result(1))
    clock.now += 2
    first = meter.window()
    meter.measure(frame(6), result(1))
    clock.now += 2
    second = meter.window()
    assert first
    assert second
    assert (first.dropped, first.dropped_share) == (4, 4 / 5)
    assert (second.dropped, second.dropped_share) == (1, 1 / 2)
    assert summary_of(meter).dropped_share == pytest.approx(5 / 7)


def test_a_pause_of_the_source_shows_in_the_rate_of_its_window() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=0, window_s=10.0)
    play(meter, clock, [1] * 101, step_s=0.1)
    assert meter.window()
    clock.now += 30
    meter.measure(frame(101), result(1))
    found = meter.window()
    assert found
    assert found.fps == pytest.approx(1 / 30)


def test_a_window_without_a_frame_is_empty_and_spoils_no_rate() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=0, window_s=1.0)
    play(meter, clock, [1] * 11)
    assert meter.window()
    clock.now += 1
    empty = meter.window()
    assert empty
    assert (empty.frames, empty.fps, empty.dropped, empty.dropped_share) == (0, None, 0, 0.0)
    clock.now += 1
    meter.measure(frame(11), result(1))
    found = meter.window()
    assert found
    assert found.fps == pytest.approx(1 / 2)


def test_a_window_before_the_first_frame_is_empty() -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, window_s=1.0)
    assert meter.window() is None
    clock.now += 1
    found = meter.window()
    assert found
    assert (found.frames, found.p50_ms, found.fps) == (0, None, None)


@pytest.mark.parametrize("frames", [BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 300])
def test_no_frame_is_lost_where_times_are_counted_many_at_once(frames: int) -> None:
    clock = FakeClock()
    meter = Meter(INFO, clock, warmup_frames=0, window_s=1e9)
    play(meter, clock, [float(number + 1) for number in range(frames)])
    found = summary_of(meter)
    assert (found.frames, found.max_ms) == (frames, frames)
    assert found.p50_ms == pytest.approx(math.ceil(frames / 2), rel=1e-3)
    assert summary_of(meter).frames == frames  # to ask twice counts nothing twice
