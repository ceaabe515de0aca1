"""frames.jsonl: the keys of schema 1, valid JSON, and the wall clock in one place."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.core.detections import Detections
from perception.core.results import BackendInfo, BoardSnapshot, Report, StageTimes
from perception.reporting.records import RecordSink, record_line
from tests.doubles.fakes import make_report
from tests.small_disk import small_disk

NOON = 1_750_000_000.1234
KEYS = (
    "schema ts frame_id source age_ms preprocess_ms infer_ms postprocess_ms total_ms dropped backend precision vehicles"
    " board"
)


def parsed(report: Report, now_s: float) -> dict[str, Any]:
    """The record of a frame, read back from its line."""
    line = record_line(report, now_s)
    assert line.endswith("}\n")
    record: dict[str, Any] = json.loads(line)
    return record


def with_found(found: Detections, names: dict[int, str]) -> Report:
    report = make_report()
    return replace(
        report, result=replace(report.result, detections=found), backend=BackendInfo("fake", "fp32", (64, 64), 1, names)
    )


def parse(line: str) -> dict[str, Any]:
    """Strict JSON: NaN and Infinity are no numbers there."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    record: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return record


def test_a_record_has_exactly_the_keys_of_schema_1() -> None:
    record = parsed(make_report(), NOON)
    assert list(record) == KEYS.split()
    assert record["schema"] == 1


def test_a_record_tells_what_the_report_holds() -> None:
    record = parsed(make_report(total_ms=12.34567, age_ms=18.2, frame_id=7, dropped=2), NOON)
    assert record == {
        "schema": 1,
        "ts": "2025-06-15T15:06:40.123+00:00",
        "frame_id": 7,
        "source": "fake",
        "age_ms": 18.2,
        "preprocess_ms": 0.4,
        "infer_ms": 11.3,
        "postprocess_ms": 0.7,
        "total_ms": 12.346,
        "dropped": 2,
        "backend": "fake",
        "precision": "fp32",
        "vehicles": [{"class": "car", "confidence": 0.9, "xyxy": [10.0, 20.0, 30.0, 40.0]}],
        "board": None,
    }


def test_the_class_is_the_models_own_name() -> None:
    found = Detections(
        np.array([[0, 0, 1.26, 2], [1, 1, 2, 2]], np.float32), np.array([0.87654, 0.5], np.float32), np.array([9, 0])
    )
    vehicles = parsed(with_found(found, {0: "Straßenbahn", 9: 'a "quoted" name'}), NOON)["vehicles"]
    assert [vehicle["class"] for vehicle in vehicles] == ['a "quoted" name', "Straßenbahn"]
    assert [vehicle["confidence"] for vehicle in vehicles] == [0.8765, 0.5]
    assert vehicles[0]["xyxy"] == [0, 0, 1.3, 2]


def test_a_stage_that_is_not_known_is_null() -> None:
    report = make_report()
    report = replace(report, result=replace(report.result, stages=StageTimes(None, 1.0, None)))
    record = parsed(report, NOON)
    assert (record["preprocess_ms"], record["infer_ms"], record["postprocess_ms"]) == (None, 1.0, None)


def test_the_wall_clock_shows_in_ts_alone() -> None:
    early, late = parsed(make_report(), 0.0), parsed(make_report(), NOON)
    assert {key for key in early if early[key] != late[key]} == {"ts"}


def test_each_frame_is_one_line_of_valid_json_whatever_its_names_hold(tmp_path: Path) -> None:
    names = {2: 'a\nb "c" {d} \u2028 車'}
    sink = RecordSink(tmp_path / "frames.jsonl", 1 << 20, lambda: NOON)
    for vehicles in range(4):
        sink.write(replace(make_report(vehicles=vehicles), backend=BackendInfo("fake", "fp32", (64, 64), 1, names)))
    sink.close()
    lines = (tmp_path / "frames.jsonl").read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [len(parse(line)["vehicles"]) for line in lines] == [0, 1, 2, 3]
    assert parse(lines[1])["vehicles"][0]["class"] == names[2]


def test_a_record_is_there_at_once(tmp_path: Path) -> None:
    sink = RecordSink(tmp_path / "frames.jsonl", 1 << 20)
    sink.write(make_report())
    assert parse((tmp_path / "frames.jsonl").read_text())["frame_id"] == 7
    sink.close()


def test_a_full_disk_loses_records_with_one_warning(tmp_path: Path, logged: list[str]) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.fill()
        sink = RecordSink(disk.path / "frames.jsonl", 1 << 20)
        for _ in range(20):
            sink.write(make_report())
        sink.close()
        path = disk.path / "frames.jsonl"
        assert logged == [f"WARNING {path} cannot be written (No space left on device): lines are lost until it can"]


@pytest.mark.parametrize("vehicles", [0, 300])
def test_the_records_stay_within_their_bound(tmp_path: Path, vehicles: int) -> None:
    sink = RecordSink(tmp_path / "frames.jsonl", 1 << 18)
    for _ in range(2000 if vehicles == 0 else 40):
        sink.write(make_report(vehicles=vehicles))
        assert vehicles == 0 or sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1 << 18
    sink.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1 << 18


def test_the_board_stands_in_the_record_with_every_figure_it_can_have() -> None:
    board = BoardSnapshot(
        {"gpu": 60.78125},
        {"gpu": 99.0},
        power_w=7.18848,
        rails_w={"VDD_IN": 7.18848},
        gpu_load=0.453,
        cpu_load=math.nan,
        throttling=("gpu-throttle-alert",),
        oc_events={"under-voltage": 0},
    )
    told = parse(record_line(replace(make_report(), board=board), NOON))["board"]
    assert list(told) == [field.name for field in fields(BoardSnapshot)]
    assert {name: value for name, value in told.items() if value is not None} == {
        "temperatures_c": {"gpu": 60.781},
        "throttle_from_c": {"gpu": 99.0},
        "power_w": 7.188,
        "rails_w": {"VDD_IN": 7.188},
        "gpu_load": 0.453,
        "throttling": ["gpu-throttle-alert"],
        "oc_events": {"under-voltage": 0},
    }
