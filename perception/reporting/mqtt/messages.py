"""The messages: JSON, schema 1, as docs/mqtt.md describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from perception.core.results import BackendInfo, BoardSnapshot, Result
from perception.core.source_state import SourceState
from perception.reporting.vehicles import SCHEMA, moment, rounded_fields, vehicle_objects


@dataclass(frozen=True, slots=True, eq=False)
class VehicleFrame:
    """A frame with vehicles, without its image. wall_s: Unix seconds."""

    wall_s: float
    frame_id: int
    source: str
    result: Result
    backend: BackendInfo


class FrameFigures(NamedTuple):
    """The figures of a frame that go into the state."""

    total_ms: float
    age_ms: float
    dropped: int


@dataclass(frozen=True, slots=True, eq=False)
class PilotState:
    """The pilot over the last elapsed_s seconds; None for what is not known."""

    wall_s: float
    elapsed_s: float
    frames: Sequence[FrameFigures]
    source: str | None
    backend: BackendInfo | None
    source_state: SourceState | None
    source_for_s: float | None
    board: BoardSnapshot | None
    waiting: int
    lost: int


def vehicles_message(frame: VehicleFrame) -> bytes:
    """Return the message on the vehicles of one frame, boxes in pixels."""
    return _encoded(
        {
            "schema": SCHEMA,
            "ts": moment(frame.wall_s),
            "frame_id": frame.frame_id,
            "source": frame.source,
            "age_ms": round(frame.result.age_ms, 3),
            "total_ms": round(frame.result.total_ms, 3),
            "backend": frame.backend.name,
            "precision": frame.backend.precision,
            "vehicles": vehicle_objects(frame.result.detections, frame.backend.class_names),
        }
    )


def state_message(pilot: PilotState) -> bytes:
    """Return the message on the state of the pilot; a figure that is not known is null."""
    state, backend = pilot.source_state, pilot.backend
    return _encoded(
        {
            "schema": SCHEMA,
            "ts": moment(pilot.wall_s),
            "frames": len(pilot.frames),
            "fps": round(len(pilot.frames) / pilot.elapsed_s, 2) if pilot.elapsed_s > 0 else None,
            "p50_ms": _percentile(pilot.frames, 0, 50),
            "p95_ms": _percentile(pilot.frames, 0, 95),
            "age_p95_ms": _percentile(pilot.frames, 1, 95),
            "dropped": sum(figures.dropped for figures in pilot.frames),
            "backend": backend and backend.name,
            "precision": backend and backend.precision,
            "source": pilot.source,
            "source_state": state and state.state,
            "source_state_s": None if pilot.source_for_s is None else round(pilot.source_for_s, 1),
            "source_fault": (state and state.fault) or None,
            "reconnects": state and state.reconnects,
            "board": rounded_fields(pilot.board),
            "messages_waiting": pilot.waiting,
            "messages_lost": pilot.lost,
        }
    )


def _percentile(frames: Sequence[FrameFigures], field: int, percent: float) -> float | None:
    values = [figures[field] for figures in frames]
    return round(float(np.percentile(values, percent)), 3) if values else None


def _encoded(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
