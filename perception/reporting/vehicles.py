"""The one rendering of a vehicle, and of the values around it, for every sink."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime, timezone
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from perception.core.detections import Detections
from perception.core.results import Result

SCHEMA = 1
"""The version of records and messages."""
Names = Mapping[int, str]


def class_names(found: Detections, names: Names) -> list[str]:
    """Return the class name of each vehicle. names: of the model, by class id."""
    return [names[class_id] for class_id in found.class_id.tolist()]


def vehicles(found: Detections, names: Names) -> Iterator[tuple[str, float, list[float]]]:
    """Return class name, confidence and box of each vehicle. Boxes: left, top, right, bottom in pixels."""
    return zip(class_names(found, names), found.confidence.tolist(), found.xyxy.tolist())


def vehicles_json(found: Detections, names: Names) -> str:
    """Return the elements of a JSON array of vehicles, written by hand: it runs once per frame, for records."""
    elements = [
        f'{{"class":{quoted(name)},"confidence":{confidence:.4f},'
        f'"xyxy":[{left:.1f},{top:.1f},{right:.1f},{bottom:.1f}]}}'
        for name, confidence, (left, top, right, bottom) in vehicles(found, names)
    ]
    return ",".join(elements)


def vehicle_objects(found: Detections, names: Names) -> list[dict[str, object]]:
    """Return the same as objects for the json module."""
    return [
        {"class": name, "confidence": round(confidence, 4), "xyxy": [round(value, 1) for value in box]}
        for name, confidence, box in vehicles(found, names)
    ]


def headline(result: Result) -> str:
    """Return `3 vehicles in 12.4ms`, always in the plural."""
    return f"{len(result.detections)} vehicles in {result.total_ms:.1f}ms"


def moment(wall_s: float) -> str:
    """Return Unix seconds in UTC as ISO 8601, to the millisecond."""
    return datetime.fromtimestamp(wall_s, timezone.utc).isoformat(timespec="milliseconds")


def quoted(text: str) -> str:
    """Return the text as JSON has it, with escapes for what a terminal would obey."""
    return encode_basestring(text) if text.isprintable() else encode_basestring_ascii(text)


def rounded(value: object) -> object:
    """Return the value with figures to three places, and None for those that JSON cannot hold, at every depth."""
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    return value


def rounded_fields(noun: Any) -> dict[str, object] | None:
    """Return the fields of a dataclass by name, rounded; None for None."""
    return None if noun is None else {field.name: rounded(getattr(noun, field.name)) for field in fields(noun)}
