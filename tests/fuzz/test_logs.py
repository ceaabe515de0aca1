"""Whatever a log holds after a crash, a full disk or another program: a report, or a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from perception.workshop.latency.logs.sources import expand
from perception.workshop.latency.reading import Query, read
from perception.workshop.latency.report import figures
from tests.fuzz.mutations import fault_of, mutated
from tests.workshop.latency.runs import HOT, NOW, Step, steady

STEPS = [*steady(3), Step(9, 0.5, dropped=6, board=HOT), Step(0, 4000.0, infer_ms=None)]
RECORDS = "".join(step.record() for step in STEPS).encode()
TEXT = "".join(f"2026-11-22 07:00:0{second}.123 INFO    {step.line()}\n" for second, step in enumerate(STEPS)).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


def check(path: Path, data: bytes) -> None:
    """The log gives a report that is JSON and can be printed, or one sentence."""
    path.write_bytes(data)
    query = Query(NOW)

    def report() -> None:
        assert json.dumps(figures(read(expand([str(path)]), query), query), allow_nan=False)

    fault = fault_of(report)
    assert fault is None or (fault.what and "\n" not in str(fault))


@given(data=mutated([RECORDS]))
def test_any_records_give_a_report_or_a_sentence(folder: Path, data: bytes) -> None:
    check(folder / "frames.jsonl", data)


@given(data=mutated([TEXT]))
def test_any_text_log_gives_a_report_or_a_sentence(folder: Path, data: bytes) -> None:
    check(folder / "pilot.log", data)
