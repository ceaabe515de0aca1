"""An exporter that writes the small network, slowly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.workshop.build import small_network


class YOLO:
    """Weights of any content."""

    def __init__(self, weights: str, task: str) -> None:
        self._weights = Path(weights)

    def export(self, **flags: Any) -> str:
        """Writes beside the weights, as the real one does."""
        time.sleep(0.3)
        batch = None if flags["dynamic"] else 1
        return str(small_network.build(self._weights.with_suffix(".onnx"), batch=batch, side=flags.get("imgsz", 64)))
