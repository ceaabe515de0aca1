"""One rendering of a vehicle: records, messages, the latency report and the annotation tell the same of a frame."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from perception.core.detections import Detections
from perception.core.results import Report
from perception.reporting.lines import frame_line
from perception.reporting.mqtt.messages import VehicleFrame, vehicles_message
from perception.reporting.records import record_line
from perception.reporting.vehicles import class_names, headline
from perception.workshop.latency.records import Record
from tests.doubles.fakes import make_report

NOON = 1_767_268_800.25
ONLY_IN_RECORDS = {"preprocess_ms", "infer_ms", "postprocess_ms", "dropped", "board"}


def report_of(vehicles: int, source: str = "csi://0", name: str = "car") -> Report:
    random = np.random.default_rng(vehicles)
    found = Detections(
        random.uniform(-5, 4000, (vehicles, 4)).astype(np.float32),
        random.uniform(0, 1, vehicles).astype(np.float32),
        np.full(vehicles, 2, np.int64),
    )
    report = make_report(total_ms=12.34567)
    return replace(
        report,
        frame=replace(report.frame, source=source),
        result=replace(report.result, detections=found),
        backend=replace(report.backend, class_names={2: name}),
    )


@pytest.mark.parametrize("vehicles", [1, 3, 300])
@pytest.mark.parametrize("name", ["car", 'a "b"\n\x1b[2J \u2028 車'])
def test_a_message_tells_what_the_record_tells(vehicles: int, name: str) -> None:
    report = report_of(vehicles, f"rtsp://{name}", name)
    record = json.loads(record_line(report, NOON))
    seen = VehicleFrame(NOON, report.frame.frame_id, report.frame.source, report.result, report.backend)
    message = json.loads(vehicles_message(seen))
    assert message == {key: value for key, value in record.items() if key not in ONLY_IN_RECORDS}
    assert list(message) == [key for key in record if key not in ONLY_IN_RECORDS]


def test_the_latency_report_reads_fields_that_a_record_has() -> None:
    assert set(Record.__struct_fields__) <= set(json.loads(record_line(report_of(1), NOON)))


def test_each_vehicle_has_the_name_that_the_model_gives_its_class() -> None:
    found = Detections(np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.array([7, 0, 7]))
    assert class_names(found, {0: "bus", 7: "truck"}) == ["truck", "bus", "truck"]
    with pytest.raises(KeyError):
        class_names(found, {0: "bus"})


def test_the_line_begins_as_the_annotation_ends() -> None:
    report = report_of(2)
    assert headline(report.result) == "2 vehicles in 12.3ms"
    assert frame_line(report).startswith(f"Vehicle detection: {headline(report.result)} | ")
