"""INT8 calibration on a real GPU: no batch takes memory that the one before had not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception.workshop.build import build_stage
from tests.workshop.build import small_network

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]
IMAGES = 355


@pytest.mark.parametrize("batch", [1, 8])
def test_memory_is_the_same_from_the_second_batch_to_the_last(plans: Path, tmp_path: Path, batch: int) -> None:
    from pycuda import driver

    free: list[float] = []

    def note(event: Mapping[str, Any]) -> None:
        """Notes the free MiB when a batch has been copied to the device, where TensorRT asked for it."""
        if event.get("what") == "calibration":
            free.append(driver.mem_get_info()[0] / 2**20)

    generator = np.random.default_rng(4)
    paths = [tmp_path / f"{number}.png" for number in range(IMAGES)]
    for path in paths:
        cv2.imwrite(str(path), generator.integers(0, 256, (90, 160, 3), np.uint8))
    request = {
        "onnx": str(small_network.build(tmp_path / "small.onnx", batch=None, side=640)),
        "engine": str(tmp_path / "small.engine"),
        "images": [str(path) for path in paths],
        "batch": batch, "calibration_batch": batch, "optimization_level": 1,
        "tactic_sources": os.environ.get("PILOT_TACTIC_SOURCES", "default"),
    }  # fmt: skip
    calibration = build_stage.run(request, note)["facts"]["calibration"]
    print(f"batch {batch}: free MiB {free}")
    assert len(free) == -(-IMAGES // batch)
    assert len(set(free[1:])) == 1
    assert Path(calibration["cache"]).exists()
