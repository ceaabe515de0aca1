"""The tally: percentiles, gaps, restarts, changes, the worst moments. No cut of a log changes any of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.workshop.latency.columns import TIMES
from perception.workshop.latency.plot.timeline import BINS
from perception.workshop.latency.records import RecordReader
from perception.workshop.latency.tally import LatencyTally
from tests.workshop.latency.runs import COOL, FP16, HOT, INT8, START_S, Step, figures_of, plain, steady, write


def tally_of(*parts: list[Step]) -> LatencyTally:
    """One tally over all parts, each read as a block."""
    tally, reader = LatencyTally(), RecordReader()
    for part in parts:
        if columns := reader.read("".join(step.record() for step in part).encode()):
            tally.add(columns)
    return tally


STEPS = st.builds(
    Step,
    frame_id=st.integers(0, 12),
    at_s=st.floats(-20, 40).map(lambda value: round(value, 3)) | st.sampled_from([0.0, 5e4, 5e6]),
    total_ms=st.sampled_from([1.0, 12.0, 12.0, 40.0]) | st.floats(0, 1e6).map(lambda value: round(value, 3)),
    infer_ms=st.none() | st.floats(0, 100),
    dropped=st.integers(0, 3),
    backend=st.sampled_from([INT8, FP16]),
    board=st.sampled_from([None, None, HOT, COOL]),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=40), data=st.data())
def test_a_log_in_parts_counts_as_a_whole(steps: list[Step], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(steps)), max_size=4)))
    parts = [steps[first:last] for first, last in zip([0, *cuts], [*cuts, len(steps)])]
    assert plain(tally_of(*parts)) == plain(tally_of(steps))


@pytest.mark.parametrize("spread", [0.05, 0.6])
def test_percentiles_equal_those_of_numpy_to_the_width_of_a_bucket(tmp_path: Path, spread: float) -> None:
    random = np.random.default_rng(5)
    infer, total = np.exp(random.normal(2.4, spread, (2, 5003))).round(3)
    steps = [Step(n, n / 30, total[n], infer_ms=infer[n]) for n in range(5003)]
    found = figures_of(write(tmp_path / "frames.jsonl", steps))["times_ms"]
    for name, values in (("infer", infer), ("total", total), ("age", total + 5)):
        for label, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("p99_9", 99.9)):
            exact = float(np.percentile(values, percent, method="inverted_cdf"))
            assert found[name][label] == pytest.approx(exact, rel=1e-3, abs=1e-3)
        assert found[name]["max"] == pytest.approx(values.max())
        assert found[name]["mean"] == pytest.approx(values.mean(), abs=1e-3)


def test_drops_missing_ids_and_gaps_are_told_apart(tmp_path: Path) -> None:
    steps = [Step(0, 0.0), Step(1, 0.1), Step(4, 0.2, dropped=2), Step(9, 0.3, dropped=1), Step(10, 3.3), Step(11, 4.3)]
    found = figures_of(write(tmp_path / "frames.jsonl", steps))
    assert (found["dropped"], found["missing"], found["restarts"]) == (3, 3, 0)
    assert found["dropped_share"] == pytest.approx(3 / 9)
    assert (found["gaps"]["count"], found["gaps"]["total_s"]) == (1, 3.0)
    assert found["gaps"]["longest"][0]["length_s"] == 3.0
    assert found["fps"] == pytest.approx(4 / 1.3, abs=1e-3)
    assert found["span_s"] == pytest.approx(4.3)


def test_restarts_changes_and_a_clock_that_was_set_back(tmp_path: Path) -> None:
    first = [replace(step, backend=FP16) for step in steady(30)]
    steps = [*first, *steady(30, at_s=60), *steady(30, first=30, at_s=20)]
    found = figures_of(write(tmp_path / "frames.jsonl", steps))
    assert (found["restarts"], found["changes"], found["clock_steps"], found["missing"]) == (1, 1, 1, 0)
    assert [(event["kind"], event["before"], event["after"]) for event in found["events"]] == [
        ("restart", "pytorch fp16", "tensorrt int8"),
        ("change", "pytorch fp16", "tensorrt int8"),
    ]
    assert found["served"] == {"tensorrt int8": 60, "pytorch fp16": 30}
    assert found["gaps"]["longest"][0]["restart"] is True
    assert found["fps"] == pytest.approx(30, rel=0.01)


def test_the_worst_moments_are_of_different_seconds_with_the_board_beside_them(tmp_path: Path) -> None:
    steps = [replace(step, board=COOL) if step.frame_id % 30 == 0 else step for step in steady(600)]
    for slow, total_ms in ((100, 80.0), (101, 70.0), (400, 90.0), (599, 60.0)):
        steps[slow] = replace(steps[slow], total_ms=total_ms)
    steps[390] = replace(steps[390], board=HOT)
    worst = figures_of(write(tmp_path / "frames.jsonl", steps))["worst"]
    assert [row["frame_id"] for row in worst[:3]] == [400, 100, 599]
    assert len(worst) == 10
    assert len({row["at"][:19] for row in worst}) == 10
    assert (worst[0]["temperature_c"], worst[0]["power_w"], worst[0]["throttling"]) == (
        97.5,
        14.25,
        ["gpu-throttle-alert"],
    )
    assert (worst[1]["temperature_c"], worst[1]["power_w"]) == (50.0, 7.0)
    assert worst[0]["infer_ms"] == 11.0


def test_an_old_snapshot_does_not_stand_beside_a_frame(tmp_path: Path) -> None:
    steps = [Step(0, 0.0, 10.0, board=HOT), Step(1, 60.0, 99.0)]
    worst = figures_of(write(tmp_path / "frames.jsonl", steps))["worst"]
    assert worst[0]["frame_id"] == 1
    assert worst[0]["temperature_c"] is None
    assert worst[1]["temperature_c"] == 97.5


def test_the_board_over_the_run(tmp_path: Path) -> None:
    boards = [COOL, HOT, COOL, COOL]
    steps = [Step(number, float(number), board=board) for number, board in enumerate(boards)]
    board = figures_of(write(tmp_path / "frames.jsonl", steps))["board"]
    assert board == {
        "snapshots": 4,
        "hottest_c": 97.5,
        "mean_w": pytest.approx((3 * 7 + 14.25) / 4, abs=1e-3),
        "most_w": 14.25,
        "throttled_snapshots": 1,
        "throttling": {"gpu-throttle-alert": 1},
    }


def test_the_timeline_keeps_every_frame_however_long_the_log() -> None:
    steps = [Step(n, n * 137.0, 10 + n % 7, dropped=n % 2, board=HOT if n == 900 else None) for n in range(3000)]
    tally = tally_of(steps[:1700], steps[1700:])
    bins = tally.timeline.bins()
    assert bins is not None
    assert BINS / 2 <= len(bins.frames) <= BINS
    assert (int(bins.frames.sum()), int(bins.dropped.sum())) == (3000, 1500)
    assert bins.start_ms[0] <= START_S * 1000 < bins.start_ms[1]
    assert np.nanmax(bins.max_ms) == 16.0
    hot = int(np.flatnonzero(bins.throttled)[0])
    assert bins.start_ms[hot] <= (START_S + 900 * 137) * 1000 < bins.start_ms[hot] + bins.width_ms
    assert (bins.temperature_c[hot], bins.power_w[hot]) == (97.5, 14.25)
    few = tally.timeline.bins(50)
    assert few is not None
    assert len(few.frames) <= 50
    assert int(few.frames.sum()) == 3000


def test_the_percentiles_of_a_stretch_are_those_of_its_frames() -> None:
    random = np.random.default_rng(1)
    steps = [Step(n, n / 30, total_ms) for n, total_ms in enumerate(random.gamma(4, 3, 3000).round(3))]
    bins = tally_of(steps).timeline.bins(2)
    assert bins is not None
    start = (bins.start_ms - START_S * 1000) / 1000
    for row, begin in enumerate(start.tolist()):
        values = [step.total_ms for step in steps if begin <= round(step.at_s, 3) < begin + bins.width_ms / 1000]
        assert len(values) == bins.frames[row]
        for percent, found in ((50, bins.p50_ms), (95, bins.p95_ms), (99, bins.p99_ms)):
            exact = np.percentile(values, percent, method="inverted_cdf")
            assert found[row] == pytest.approx(exact, rel=0.026)
        assert bins.stage_ms["total"][row] == pytest.approx(np.mean(values), abs=1e-6)


def test_the_histogram_holds_every_frame_once(tmp_path: Path) -> None:
    steps = [Step(n, n / 30, 10 + n % 10 + 500 * (n == 77)) for n in range(1000)]
    rows = figures_of(write(tmp_path / "frames.jsonl", steps))["histogram"]
    assert sum(row["frames"] for row in rows) == 1000
    assert rows[-1]["frames"] == 1
    assert rows[-1]["to_ms"] is None
    assert all(first["to_ms"] == second["from_ms"] for first, second in zip(rows, rows[1:]))


@pytest.mark.parametrize("total_ms", [0.0, 12.0, 9e8])
def test_one_frame_is_a_report(tmp_path: Path, total_ms: float) -> None:
    found = figures_of(write(tmp_path / "frames.jsonl", [Step(0, 0.0, total_ms)]))
    assert (found["frames"], found["fps"], found["span_s"]) == (1, None, 0.0)
    assert sum(row["frames"] for row in found["histogram"]) == 1
    assert set(found["times_ms"]) == set(TIMES)
