"""The gate on real engines: FP16 passes, and INT8 that was calibrated on an empty road does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.workshop.accuracy import child
from perception.workshop.accuracy.check import Comparison, Pictures, find_pictures, judge
from perception.workshop.accuracy.detector import Conditions
from tests.journeys.device.conftest import copy_of

pytestmark = pytest.mark.device


@pytest.fixture(scope="module")
def pictures(data: Path) -> Pictures:
    return find_pictures(data / "labelled" / "vehicles" / "data.yaml").thinned(136)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps what the reference found, for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("has_labels", [True, False])
@pytest.mark.parametrize(("plan", "passes"), [("yolov8n_fp16.plan", True), ("yolov8n_int8.plan", False)])
def test_fp16_passes_and_int8_of_an_empty_road_is_refused(
    plans: Path, onnx: Path, pictures: Pictures, cache: Path, tmp_path: Path, plan: str, passes: bool, has_labels: bool
) -> None:
    engine = copy_of(plans / plan, tmp_path)
    seen = pictures if has_labels else Pictures(pictures.images, None)
    how = Conditions(kernel_dir=cache)
    comparison = Comparison(seen, lambda asked: child.run(asked, lambda _: None), tmp_path, cache, how)
    verdict = judge(comparison, onnx, engine, 1.0, print)
    assert verdict.passed == passes, verdict.lines
    if passes and has_labels:
        assert abs(verdict.report["drop_points"]["map50_95"]) <= 0.1
