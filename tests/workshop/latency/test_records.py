"""Records as columns, and lines that are not a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.lab.benchmark.report_cost import write_records
from perception.workshop.latency.columns import TIMES
from perception.workshop.latency.records import RecordReader
from tests.workshop.latency.runs import COOL, FP16, HOT, START_S, Step, figures_of, outcome_of, steady, write

GOOD = Step(7, 1.5).record().encode()


def test_every_field_of_a_record_arrives() -> None:
    step = Step(41, 1.25, 12.5, infer_ms=11.25, preprocess_ms=None, dropped=3, backend=FP16, board=HOT)
    reader = RecordReader()
    columns = reader.read(GOOD + step.record().encode())
    assert columns is not None
    assert columns.at_ms.tolist() == [START_S * 1000 + 1500, START_S * 1000 + 1250]
    assert columns.frame_id.tolist() == [7, 41]
    assert columns.dropped.tolist() == [0, 3]
    assert [columns.names[place] for place in columns.served] == ["tensorrt int8", "pytorch fp16"]
    second = {name: columns.times[name][1] for name in TIMES}
    assert np.isnan(second.pop("preprocess"))
    assert second == {"infer": 11.25, "postprocess": 0.6, "total": 12.5, "age": 17.5}
    assert columns.board_rows.tolist() == [1]
    (reading,) = columns.readings
    assert (reading.temperature_c, reading.power_w, reading.throttled) == (97.5, 14.25, ("gpu-throttle-alert",))
    assert reader.broken == 0


def test_without_a_gpu_zone_the_temperature_is_that_of_the_summary_line() -> None:
    columns = RecordReader().read(Step(0, 0.0, board=COOL).record().encode())
    assert columns is not None
    assert columns.readings[0].temperature_c == 50.0


@pytest.mark.parametrize(
    "line",
    [
        GOOD[: len(GOOD) // 2] + b"\n",
        b"\x00\xff\xfe\x80 \x1b[31m garbage\n",
        b"[1, 2, 3]\n",
        b"{}\n",
        GOOD.replace(b'"total_ms":12.000', b'"total_ms":"12"'),
        GOOD.replace(b'"total_ms":12.000', b'"total_ms":NaN'),
        GOOD.replace(b'"total_ms":12.000', b'"total_ms":Infinity'),
        GOOD.replace(b'"total_ms":12.000', b'"total_ms":1e400'),
        GOOD.replace(b'"total_ms":12.000', b'"total_ms":-1.0'),
        GOOD.replace(b'"total_ms":12.000', b'"total_ms":null'),
        GOOD.replace(b'"frame_id":7', b'"frame_id":7.5'),
        GOOD.replace(b'"frame_id":7', b'"frame_id":99999999999999999999999'),
        GOOD.replace(b'"dropped":0', b'"dropped":-1'),
        GOOD.replace(b'"ts":"2026', b'"ts":"2x26'),
        GOOD.replace(b'"ts":"2026-09', b'"ts":"2026-13'),
        GOOD.replace(b'"backend":"tensorrt"', b'"backend":"' + b"x" * 65 + b'"'),
        GOOD.replace(b'"board":null', b'"board":[1]'),
        b'{"board":' + b"[" * 100_000 + b"\n",
        GOOD.rstrip() + GOOD,
        GOOD.rstrip() + b'\xc3"}\n',
    ],
)
def test_a_broken_line_is_counted_and_costs_no_other_line(tmp_path: Path, line: bytes) -> None:
    assert line != GOOD
    path = tmp_path / "frames.jsonl"
    path.write_bytes(GOOD + line + GOOD)
    tally = outcome_of(path).tally
    assert (tally.frames, tally.broken) == (2, 1)


@pytest.mark.parametrize(
    "board", ["{}", '{"temperatures_c":null}', '{"temperatures_c":{"gpu":"x"},"power_w":"y","throttling":3}']
)
def test_an_odd_board_is_no_reading_but_its_frame_counts(board: str) -> None:
    columns = RecordReader().read(GOOD.replace(b'"board":null', f'"board":{board}'.encode()))
    assert columns is not None
    assert all(reading[1:] == (None, None, ()) for reading in columns.readings)


def test_a_huge_line_is_passed_over_wherever_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    for size in (2**20 + 1, 2**21, 5 * 2**20):
        huge = b'{"total_ms":' + b"1" * size + b"}\n"
        for content in (huge + GOOD * 2, GOOD + huge + GOOD, GOOD * 2 + huge, GOOD * 2 + huge.rstrip()):
            path.write_bytes(content)
            tally = outcome_of(path).tally
            assert (tally.frames, tally.broken) == (2, 1)


def test_blank_lines_and_a_missing_last_newline_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(b"\n\n" + GOOD + b"\r\n" + GOOD.rstrip())
    tally = outcome_of(path).tally
    assert (tally.frames, tally.broken) == (2, 0)


def test_a_stage_that_is_not_known_stays_out_of_that_stage_alone(tmp_path: Path) -> None:
    steps = [Step(number, number / 30, preprocess_ms=None, infer_ms=float(number + 1)) for number in range(10)]
    found = figures_of(write(tmp_path / "frames.jsonl", [*steps, *steady(5, first=10, at_s=1)]))["times_ms"]
    assert found["preprocess"]["frames"] == 5
    assert found["infer"]["frames"] == 15
    nothing = figures_of(write(tmp_path / "none.jsonl", steps))["times_ms"]
    assert nothing["preprocess"] is None


def test_a_name_cannot_drive_the_terminal() -> None:
    columns = RecordReader().read(GOOD.replace(b'"tensorrt"', b'"\\u001b[2Jx"'))
    assert columns is not None
    assert columns.names == ("?[2Jx int8",)


def test_the_records_of_the_benchmark_have_the_keys_of_real_ones(tmp_path: Path) -> None:
    import json

    write_records(tmp_path / "frames.jsonl", 100)
    made = [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    assert len(made) == 100
    real = json.loads(Step(0, 0.0, board=HOT).record())
    assert list(made[0]) == list(real)
    assert set(made[0]["board"]) <= set(real["board"])
    tally = outcome_of(tmp_path / "frames.jsonl").tally
    assert (tally.frames, tally.broken, tally.sequence.counts.missing) == (100, 0, 0)
