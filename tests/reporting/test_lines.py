"""The lines people grep: their exact text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perception.core.results import BoardSnapshot, Report, StageTimes, Summary
from perception.reporting.lines import frame_line, summary_line
from tests.doubles.fakes import make_report


def with_stages(stages: StageTimes) -> Report:
    report = make_report()
    return replace(report, result=replace(report.result, stages=stages))


FULL = Summary(298, 12.1, 13.4, 15.0, 17.2, 41.0, 29.8, 2, 2 / 300)


def test_the_line_of_a_frame() -> None:
    said = frame_line(make_report())
    assert said == (
        "Vehicle detection: 1 vehicles in 12.4ms | pre 0.4 infer 11.3 post 0.7"
        " | age 18.2ms | frame 7 dropped 0 | fake fp32"
    )


@pytest.mark.parametrize("vehicles", [0, 1, 2, 300])
def test_it_is_always_vehicles(vehicles: int) -> None:
    assert frame_line(make_report(vehicles=vehicles)).startswith(f"Vehicle detection: {vehicles} vehicles in 12.4ms | ")


def test_the_line_tells_the_frame_and_the_drops_before_it() -> None:
    assert " | frame 1234 dropped 2 | " in frame_line(make_report(frame_id=1234, dropped=2))


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (StageTimes(0.4, 11.3, None), " | pre 0.4 infer 11.3 | age"),
        (StageTimes(None, 11.3, 0.7), " | infer 11.3 post 0.7 | age"),
        (StageTimes(None, 11.3, None), " | infer 11.3 | age"),
        (StageTimes(0.0, 0.0, 0.0), " | pre 0.0 infer 0.0 post 0.0 | age"),
        (StageTimes(), "in 12.4ms | age"),
    ],
)
def test_a_stage_that_is_not_known_is_left_out(stages: StageTimes, said: str) -> None:
    assert said in frame_line(with_stages(stages))


def test_long_times_stay_in_milliseconds() -> None:
    said = frame_line(make_report(total_ms=12345.67, age_ms=99999.99))
    assert "in 12345.7ms |" in said
    assert "age 100000.0ms |" in said


def test_the_summary() -> None:
    assert summary_line(FULL) == (
        "Latency over 298 frames: p50 12.1 p95 13.4 p99 15.0 max 17.2 ms"
        " | 29.8 fps | age p95 41.0 ms | dropped 2 (0.7%)"
    )


def test_the_summary_of_a_run_that_ended_in_its_warm_up() -> None:
    said = summary_line(Summary(0, None, None, None, None, None, 29.8, 0, 0.0))
    assert said == "Latency over 0 frames: none came after the warm-up | 29.8 fps | dropped 0 (0.0%)"


def test_the_summary_of_one_frame_tells_no_rate() -> None:
    said = summary_line(replace(FULL, frames=1, fps=None, dropped=0, dropped_share=0.0))
    assert said == (
        "Latency over 1 frames: p50 12.1 p95 13.4 p99 15.0 max 17.2 ms | age p95 41.0 ms | dropped 0 (0.0%)"
    )


@pytest.mark.parametrize(
    ("board", "end"),
    [
        (BoardSnapshot({"gpu": 61.4, "tj": 63.0}, power_w=7.188), " | gpu 61 C 7.2 W"),
        (BoardSnapshot({"cpu": 59.0, "tj": 60.0}, power_w=7.188), " | tj 60 C 7.2 W"),
        (BoardSnapshot({"gpu": 61.4}), " | gpu 61 C"),
        (BoardSnapshot(power_w=7.188), " | 7.2 W"),
        (BoardSnapshot({"x86_pkg_temp": 44.0}, memory_total_mib=8000.0), ""),
        (None, ""),
    ],
)
def test_the_summary_ends_with_the_board_where_it_can_be_read(board: BoardSnapshot | None, end: str) -> None:
    summary = Summary(298, 12.1, 13.4, 15.0, 17.2, 41.0, 29.8, 2, 2 / 300)
    assert summary_line(summary, board) == summary_line(summary) + end
