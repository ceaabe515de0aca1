"""The messages, against their description in docs/mqtt.md."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from perception.core.results import BoardSnapshot
from perception.core.source_state import SourceState
from perception.reporting.mqtt.messages import FrameFigures, PilotState, VehicleFrame, state_message, vehicles_message
from perception.system.home import ROOT
from tests.doubles.fakes import INFO, make_report

NOON = 1_767_268_800.25


def described(topic: str) -> dict[str, str]:
    """The keys of a message in its table, with their types."""
    text = (ROOT / "docs" / "mqtt.md").read_text(encoding="utf-8")
    section = text.partition(f"## `<topic>/{topic}`")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, re.MULTILINE))


TYPES: dict[str, tuple[type, ...]] = {
    "whole number": (int,),
    "number": (float, int),
    "text": (str,),
    "object": (dict,),
    "array": (list,),
}


def assert_fits(message: dict[str, Any], topic: str) -> None:
    table = described(topic)
    assert list(message) == list(table)
    for key, value in message.items():
        kind, _, null = table[key].partition(" or ")
        assert null in ("", "null")
        assert isinstance(value, TYPES[kind]) or (null and value is None), (key, value)


def seen(vehicles: int = 1) -> VehicleFrame:
    return VehicleFrame(NOON, 7, "rtsp://***@cam/1", make_report(vehicles=vehicles).result, INFO)


def now(**others: Any) -> PilotState:
    figures = {
        "wall_s": NOON,
        "elapsed_s": 10.0,
        "frames": [FrameFigures(float(number), 2.0 * number, number % 2) for number in range(1, 101)],
        "source": "csi://0",
        "backend": INFO,
        "source_state": SourceState("lost", 5.0, 2, "no signal"),
        "source_for_s": 3.04,
        "board": BoardSnapshot({"gpu": 61.04449}, power_w=float("nan")),
        "waiting": 4,
        "lost": 3,
    }
    return PilotState(**{**figures, **others})


def test_vehicles_of_a_frame() -> None:
    message = json.loads(vehicles_message(seen()))
    assert_fits(message, "vehicles")
    assert message == {
        "schema": 1,
        "ts": "2026-01-01T12:00:00.250+00:00",
        "frame_id": 7,
        "source": "rtsp://***@cam/1",
        "age_ms": 18.2,
        "total_ms": 12.4,
        "backend": "fake",
        "precision": "fp32",
        "vehicles": [{"class": "car", "confidence": 0.9, "xyxy": [10.0, 20.0, 30.0, 40.0]}],
    }


def test_the_state_of_a_run() -> None:
    message = json.loads(state_message(now()))
    assert_fits(message, "state")
    assert (message["frames"], message["fps"], message["dropped"]) == (100, 10.0, 50)
    assert (message["p50_ms"], message["p95_ms"], message["age_p95_ms"]) == pytest.approx((50.5, 95.05, 190.1))
    assert (message["source_state"], message["source_state_s"], message["source_fault"]) == ("lost", 3.0, "no signal")
    assert message["board"]["temperatures_c"] == {"gpu": 61.044}
    assert message["board"]["power_w"] is None
    assert (message["messages_waiting"], message["messages_lost"]) == (4, 3)


def test_the_state_before_the_first_frame() -> None:
    nothing = now(elapsed_s=0.0, frames=[], source=None, backend=None, source_state=None, source_for_s=None, board=None)
    message = json.loads(state_message(nothing))
    assert_fits(message, "state")
    assert (message["frames"], message["fps"], message["p50_ms"]) == (0, None, None)
