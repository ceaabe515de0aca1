"""The score of a run on the synthetic drive, and the file of its truth."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.core.errors import BusyError
from perception.core.frame import Truth
from perception.reporting.truth import Score, TruthSink
from tests.doubles.fakes import make_report

CAR, BUS = 1, 3


def truth(*rows: tuple[float, float, float, float, int, bool]) -> Truth:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Truth(table[:, :4].astype(np.float32), table[:, 4].astype(np.int64), table[:, 5].astype(bool))


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_a_vehicle_that_is_found_counts_for_both() -> None:
    score = Score()
    score.add(boxes((0, 0, 100, 100)), ["car"], truth((5, 0, 100, 100, CAR, False)))
    assert (score.recall, score.precision, score.wanted) == (1.0, 1.0, 1)


def test_a_vehicle_that_is_missed_costs_recall_and_a_ghost_costs_precision() -> None:
    score = Score()
    score.add(boxes((500, 500, 600, 600)), ["car"], truth((0, 0, 100, 100, CAR, False)))
    assert (score.recall, score.precision) == (0.0, 0.0)
    score.add(boxes((0, 0, 100, 100)), ["car"], truth((0, 0, 100, 100, CAR, False)))
    assert (score.recall, score.precision) == (0.5, 0.5)


def test_the_wrong_class_is_wrong() -> None:
    score = Score()
    score.add(boxes((0, 0, 100, 100)), ["bus"], truth((0, 0, 100, 100, CAR, False)))
    assert (score.recall, score.precision) == (0.0, 0.0)


def test_an_overlap_under_one_half_is_no_match() -> None:
    score = Score()
    score.add(boxes((0, 0, 49, 100)), ["car"], truth((0, 0, 100, 100, CAR, False)))
    assert score.found == 0


@pytest.mark.parametrize("unwanted", [(0, 0, 100, 100, CAR, True), (0, 0, 40, 24, CAR, False)])
def test_what_is_occluded_or_small_is_neither_asked_for_nor_wrong(
    unwanted: tuple[float, float, float, float, int, bool],
) -> None:
    score = Score()
    score.add(boxes(unwanted[:4]), ["car"], truth(unwanted))
    assert (score.wanted, score.found, score.wrong) == (0, 0, 0)
    score.add(boxes(), [], truth(unwanted))
    assert (score.recall, score.precision) == (1.0, 1.0)


def test_two_detections_of_one_vehicle_are_one_right_and_one_wrong() -> None:
    score = Score()
    score.add(boxes((0, 0, 100, 100), (0, 0, 99, 100)), ["car", "car"], truth((0, 0, 100, 100, CAR, False)))
    assert (score.found, score.wrong) == (1, 1)


def test_a_wanted_vehicle_is_matched_before_an_occluded_one_that_overlaps_more() -> None:
    score = Score()
    score.add(boxes((0, 0, 100, 100)), ["bus"], truth((0, 0, 100, 100, BUS, True), (0, 0, 100, 90, BUS, False)))
    assert score.found == 1


def test_the_part_that_shows_of_an_occluded_vehicle_is_not_wrong() -> None:
    score = Score()
    score.add(boxes((0, 0, 30, 100)), ["bus"], truth((0, 0, 100, 100, BUS, True)))
    assert score.wrong == 0
    score.add(boxes((80, 0, 130, 100)), ["bus"], truth((0, 0, 100, 100, BUS, True)))
    assert score.wrong == 1, "most of it lies elsewhere"


coordinates = st.lists(st.tuples(*[st.integers(0, 50)] * 4), max_size=6)


@given(coordinates, coordinates)
def test_no_score_leaves_its_bounds(
    found: list[tuple[int, int, int, int]], there: list[tuple[int, int, int, int]]
) -> None:
    score = Score()
    rows = [(x, y, x + w, y + h, CAR, bool(w & 1)) for x, y, w, h in there]
    score.add(boxes(*[(x, y, x + w, y + h) for x, y, w, h in found]), ["car"] * len(found), truth(*rows))
    assert 0 <= score.found <= min(score.wanted, len(found))
    assert score.found + score.wrong <= len(found)
    assert 0 <= score.recall <= 1
    assert 0 <= score.precision <= 1


@given(coordinates)
def test_finding_exactly_what_is_there_is_perfect(there: list[tuple[int, int, int, int]]) -> None:
    score = Score()
    rows = [(x, y, x + w + 1, y + h + 25) for x, y, w, h in there]
    score.add(boxes(*rows), ["car"] * len(rows), truth(*[(*row, CAR, False) for row in rows]))
    assert (score.recall, score.precision, score.wanted) == (1.0, 1.0, len(rows))


def test_the_sink_writes_the_truth_and_prints_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = make_report(vehicles=1, frame_id=3)  # a car at 10, 20, 30, 40: too low to be asked for
    frame = replace(report.frame, truth=truth((10, 20, 30, 40, CAR, False), (0, 0, 40, 40, BUS, True)))
    sink = TruthSink(tmp_path / "truth.jsonl")
    sink.write(replace(report, frame=frame))
    sink.close()
    assert capsys.readouterr().out == "Ground truth: recall 1.00 precision 1.00 over 0 vehicles\n"
    assert json.loads((tmp_path / "truth.jsonl").read_text()) == {
        "frame_id": 3,
        "vehicles": [
            {"class": "car", "xyxy": [10.0, 20.0, 30.0, 40.0], "occluded": False},
            {"class": "bus", "xyxy": [0.0, 0.0, 40.0, 40.0], "occluded": True},
        ],
    }


def test_without_truth_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    sink = TruthSink(None)
    sink.write(make_report())
    sink.close()
    assert capsys.readouterr().out == ""


def test_a_truth_file_whose_folder_is_missing_waits_for_its_disk(tmp_path: Path) -> None:
    with pytest.raises(BusyError, match=r"--truth .*: the folder .* does not exist"):
        TruthSink(tmp_path / "no such folder" / "truth.jsonl")


def test_nothing_is_written_before_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text("of another run")
    TruthSink(path).close()
    assert path.read_text() == "of another run"


def test_the_truth_of_another_run_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text("of another run")
    report = make_report()
    seen = replace(report, frame=replace(report.frame, truth=truth((0, 0, 40, 40, BUS, True))))
    for _ in range(2):
        sink = TruthSink(path)
        sink.write(seen)
        sink.close()
    assert path.read_text() == "of another run"
    assert (tmp_path / "truth-2.jsonl").read_text() == (tmp_path / "truth-3.jsonl").read_text() != ""
    sink = TruthSink(path, overwrite=True)
    sink.write(seen)
    sink.close()
    assert path.read_text() == (tmp_path / "truth-2.jsonl").read_text()


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path, logged: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    report = make_report()
    sink = TruthSink(tmp_path / "pipe")
    sink.write(replace(report, frame=replace(report.frame, truth=truth((0, 0, 40, 40, BUS, True)))))
    sink.close()
    assert "pipe cannot be written (No such device or address): the truth ends here" in logged[0]


def test_a_full_disk_ends_the_truth_with_one_warning_and_not_the_run(logged: list[str]) -> None:
    report = make_report()
    sink = TruthSink(Path("/dev/full"))
    for _ in range(3):
        sink.write(replace(report, frame=replace(report.frame, truth=truth((0, 0, 40, 40, BUS, True)))))
    sink.close()
    assert logged == [
        "WARNING /dev/full cannot be written (No space left on device): the truth ends here, the run goes on"
    ]
