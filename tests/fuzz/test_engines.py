"""Whatever lies in the place of an engine or its sidecar: taken, or refused in a sentence, before any TensorRT."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.sidecar import read_sidecar, sidecar_path
from perception.core.errors import BackendError
from tests.doubles.engine_files import ULTRALYTICS, install, plan, with_header
from tests.fuzz.mutations import fault_of, mutated

ENGINES = [plan(), with_header(ULTRALYTICS, plan()), with_header(b"{}", plan(version=(8, 6, 0)))]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines") / "yolo11n.engine"


@pytest.fixture(scope="module")
def sidecars(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Valid ones."""
    engine = tmp_path_factory.mktemp("valid") / "yolo11n.engine"
    return [sidecar_path(install(engine, data)).read_bytes() for data in ENGINES]


@given(data=mutated(ENGINES))
def test_any_engine_is_taken_or_refused(engine: Path, data: bytes) -> None:
    engine.write_bytes(data)
    engine.chmod(0o644)
    fault = fault_of(lambda: open_engine(engine))
    if fault is None:
        assert data.endswith(open_engine(engine).plan)
    else:
        assert isinstance(fault, BackendError)
        assert fault.cure
        assert "\n" not in str(fault)


@given(given_=st.data())
def test_any_sidecar_is_taken_or_refused(engine: Path, sidecars: list[bytes], given_: st.DataObject) -> None:
    engine.write_bytes(ENGINES[0])
    place = sidecar_path(engine)
    place.write_bytes(given_.draw(mutated(sidecars)))
    place.chmod(0o644)
    try:
        faults = (fault_of(lambda: read_sidecar(place)), fault_of(lambda: open_engine(engine)))
    finally:
        place.unlink()
    assert faults[0] is None or faults[1] is not None, "an engine with an unusable sidecar is refused"
    assert all(fault is None or (isinstance(fault, BackendError) and "\n" not in str(fault)) for fault in faults)
