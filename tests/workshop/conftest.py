"""Pictures to calibrate on, and the events that a stage tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Event = Mapping[str, Any]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Seven pictures of noise, each of another size."""
    generator = np.random.default_rng(3)
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), generator.integers(0, 256, (48 + 5 * number, 90, 3), np.uint8))
    return paths


@pytest.fixture
def events() -> list[Event]:
    """The events told so far."""
    return []


def said(events: list[Event]) -> str:
    """All sentences among the events."""
    return "\n".join(str(event["text"]) for event in events if event["event"] == "say")
