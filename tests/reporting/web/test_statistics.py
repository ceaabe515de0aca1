"""The figures counted of frames, and the queue that the loop leaves them in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.core.detections import Detections
from perception.core.results import BoardSnapshot, Report, Result, StageTimes
from perception.reporting.web.sink import QUEUE_FRAMES, Measured, WebSink
from perception.reporting.web.statistics import BUCKETS_S, HISTORY_S, PrometheusHistogram, Statistics, hottest_c
from tests.doubles.fakes import INFO, FakeClock, make_report


def measured(ended_at: float, total_ms: float = 10.0, dropped: int = 0, infer_ms: float | None = 8.0) -> Measured:
    found = Detections(np.zeros((2, 4), np.float32), np.ones(2, np.float32), np.array([1, 2]))
    return Measured(ended_at, Result(found, StageTimes(1.0, infer_ms, 0.5), total_ms, 20.0), dropped, INFO.class_names)


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_every_duration_is_in_the_buckets_that_are_not_below_it(values_ms: list[float]) -> None:
    histogram = PrometheusHistogram()
    for value in values_ms:
        histogram.add(value)
    *known, (last, count) = histogram.cumulative()
    assert (last, count) == ("+Inf", len(values_ms))
    for (bound, below), limit in zip(known, BUCKETS_S):
        assert float(bound) == limit
        assert below == sum(value / 1000 <= limit for value in values_ms)
    assert histogram.sum_s == pytest.approx(sum(values_ms) / 1000)


def test_frames_drops_and_vehicles_are_counted() -> None:
    statistics = Statistics()
    statistics.add([measured(1.0, dropped=3), measured(1.1)])
    assert (statistics.frames, statistics.dropped) == (2, 3)
    assert statistics.vehicles == {"bicycle": 2, "car": 2}
    assert sum(statistics.stages["infer"].counts) == 2


def test_each_second_has_its_own_figures_and_an_empty_one_has_none() -> None:
    statistics = Statistics()
    statistics.tick(100.0, None)
    statistics.add([measured(100.2, 10), measured(100.4, 30), measured(100.9, 20, dropped=1), measured(102.5, 50)])
    board = BoardSnapshot(temperatures_c={"cpu": 50.0, "gpu": 61.5}, power_w=7.5)
    statistics.tick(102.6, board)
    first, second = statistics.history
    assert (first.number, first.frames, first.dropped, first.p50_ms, first.max_ms) == (100, 3, 1, 20.0, 30)
    assert (second.number, second.frames, second.p50_ms, second.stages_ms) == (101, 0, None, (None, None, None))
    assert (first.temperature_c, first.power_w) == (61.5, 7.5)
    statistics.tick(103.0, board)
    assert statistics.history[-1].p50_ms == 50


def test_the_history_is_bounded_however_long_nobody_asked() -> None:
    statistics = Statistics()
    statistics.tick(0.0, None)
    statistics.tick(1e6, None)
    assert len(statistics.history) == HISTORY_S
    assert statistics.history[-1].number == 999_999


def test_the_last_ten_seconds_have_percentiles_and_a_rate() -> None:
    statistics = Statistics()
    statistics.add([measured(0.0, 500.0), *(measured(100 + number / 10, number) for number in range(1, 101))])
    recent = statistics.recent(110.0)
    assert recent.frames == 100
    assert recent.p50_ms == 50.5
    assert recent.max_ms == 100
    assert recent.fps == pytest.approx(10.0)
    assert recent.stages_ms == (1.0, 8.0, 0.5)
    assert statistics.recent(1000.0).p50_ms is None


def test_a_stage_that_the_backend_does_not_tell_is_left_out() -> None:
    statistics = Statistics()
    statistics.add([measured(1.0, infer_ms=None)])
    assert statistics.recent(1.0).stages_ms == (1.0, None, 0.5)
    assert not any(statistics.stages["infer"].counts)


@pytest.mark.parametrize(
    ("zones", "told"), [({"cpu": 70.0, "gpu": 60.0}, 60.0), ({"cpu": 70.0, "tj": 71.0}, 71.0), ({"soc": 5.0}, 5.0)]
)
def test_one_temperature_stands_for_the_board(zones: dict[str, float], told: float) -> None:
    assert hottest_c(BoardSnapshot(temperatures_c=zones)) == told
    assert hottest_c(BoardSnapshot()) is None


def test_the_sink_holds_no_picture_unless_one_was_asked_for_and_then_one() -> None:
    sink = WebSink(FakeClock())
    sink.write(make_report())
    assert sink.take_report() is None
    sink.ask()
    reports = [make_report(frame_id=number) for number in (1, 2)]
    for report in reports:
        sink.write(report)
    taken: list[Report | None] = [sink.take_report(), sink.take_report()]
    assert taken == [reports[0], None]
    sink.ask()
    sink.write(reports[0])
    sink.forget()
    sink.write(reports[1])
    assert sink.take_report() is None


def test_a_queue_that_nobody_empties_is_bounded() -> None:
    sink, report = WebSink(FakeClock()), make_report()
    for _ in range(QUEUE_FRAMES + 10):
        sink.write(report)
    assert len(sink.take_measured()) == QUEUE_FRAMES
    assert sink.take_measured() == []
