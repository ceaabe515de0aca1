"""What the messages say: JSON, schema 1, as docs/mqtt.md describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from perception.core.frame import BackendInfo, BoardSnapshot, Result
from perception.core.source_state import SourceState
from perception.reporting.vehicles import SCHEMA, moment, rounded, vehicle_objects


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A frame with vehicles, without its image. wall_s: Unix seconds."""

    wall_s: float
    frame_id: int
    source: str
    result: Result
    backend: BackendInfo


class Turn(NamedTuple):
    """What the state counts of a frame."""

    total_ms: float
    age_ms: float
    dropped: int


@dataclass(frozen=True, slots=True, eq=False)
class Now:
    """How the pilot is doing over the last elapsed_s seconds; None where something is not known."""

    wall_s: float
    elapsed_s: float
    turns: Sequence[Turn]
    source: str | None
    backend: BackendInfo | None
    source_state: SourceState | None
    source_for_s: float | None
    board: BoardSnapshot | None
    waiting: int
    lost: int


def vehicles_message(seen: Seen) -> bytes:
    """The vehicles of one frame, boxes in pixels."""
    return _encoded(
        {
            "schema": SCHEMA,
            "ts": moment(seen.wall_s),
            "frame_id": seen.frame_id,
            "source": seen.source,
            "age_ms": round(seen.result.age_ms, 3),
            "total_ms": round(seen.result.total_ms, 3),
            "backend": seen.backend.name,
            "precision": seen.backend.precision,
            "vehicles": vehicle_objects(seen.result.detections, seen.backend.class_names),
        }
    )


def state_message(now: Now) -> bytes:
    """The state of the pilot; a figure that is not known is null."""
    state, backend = now.source_state, now.backend
    return _encoded(
        {
            "schema": SCHEMA,
            "ts": moment(now.wall_s),
            "frames": len(now.turns),
            "fps": round(len(now.turns) / now.elapsed_s, 2) if now.elapsed_s > 0 else None,
            "p50_ms": _percentile(now.turns, 0, 50),
            "p95_ms": _percentile(now.turns, 0, 95),
            "age_p95_ms": _percentile(now.turns, 1, 95),
            "dropped": sum(turn.dropped for turn in now.turns),
            "backend": backend and backend.name,
            "precision": backend and backend.precision,
            "source": now.source,
            "source_state": state and state.state,
            "source_state_s": None if now.source_for_s is None else round(now.source_for_s, 1),
            "source_fault": (state and state.fault) or None,
            "reconnects": state and state.reconnects,
            "board": rounded(asdict(now.board)) if now.board else None,
            "messages_waiting": now.waiting,
            "messages_lost": now.lost,
        }
    )


def _percentile(turns: Sequence[Turn], field: int, percent: float) -> float | None:
    values = [turn[field] for turn in turns]
    return round(float(np.percentile(values, percent)), 3) if values else None


def _encoded(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
