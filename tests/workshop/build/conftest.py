"""The fake TensorRT with a builder, on the emulated GPU, and a small network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.doubles.emulated_gpu import Device
from tests.workshop.build import small_network
from tests.workshop.build.fake_builder import Generation, Workbench, extend, put_memory_meter


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
