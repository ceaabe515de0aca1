"""The fake TensorRT with a builder, on the emulated GPU, and pictures to calibrate on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from tests.doubles.emulated_gpu import Device
from tests.workshop.build import small_network
from tests.workshop.build.fake_builder import Generation, Workbench, extend, put_memory_meter

Event = Mapping[str, Any]


@pytest.fixture
def bench_of(device: Device, tensorrt: ModuleType) -> Callable[[Generation], Workbench]:
    """Makes the fake TensorRT one of that generation."""
    put_memory_meter(device)
    return lambda generation: extend(tensorrt, tensorrt.machine, generation)


@pytest.fixture
def bench(bench_of: Callable[[Generation], Workbench]) -> Workbench:
    """A builder of TensorRT 8.6."""
    return bench_of("8.6")


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """The small network."""
    return small_network.build(tmp_path / "small.onnx")


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
    """What was told."""
    return []


def said(events: list[Event]) -> str:
    """All sentences among the events."""
    return "\n".join(str(event["text"]) for event in events if event["event"] == "say")
