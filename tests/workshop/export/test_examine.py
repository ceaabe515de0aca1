"""The checks of a model before an export: a detector, of which layout, that can become what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.core.errors import SettingsError
from perception.core.layouts import LAYOUTS
from perception.workshop.export.stages.examine_stage import run
from tests.doubles import tiny_model
from tests.doubles.output_layouts import table, write
from tests.workshop.quantize.small_yolo import build

TWO = {0: "car", 1: "truck"}


def examined(onnx: Path, **more: Any) -> Any:
    request = {"onnx": str(onnx), "folder": str(onnx.parent), "precision": "int8", **more}
    return run(request, lambda _: None)["layout"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_is_found_as_the_run_time_finds_it(tmp_path: Path, layout: str) -> None:
    assert examined(write(tmp_path / "m.onnx", table(layout, 2), TWO)) == layout


def test_a_layout_that_is_asked_for_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", np.zeros((1, 100, 6)), TWO)
    with pytest.raises(SettingsError, match=r"does not show \(model.layout\).*--layout"):
        examined(path)
    assert examined(path, layout="deepstream") == "deepstream"


@pytest.mark.parametrize(
    ("metadata", "outputs", "said"),
    [
        ({"task": "segment"}, [(1, 32, 80, 80)], "is a model for 'segment', not for detection"),
        ({}, [(1, 32, 80, 80)], "has 2 outputs"),
        ({"task": "pose"}, [], "is a model for 'pose'"),
    ],
)
def test_what_is_no_detector_is_refused(tmp_path: Path, metadata: Any, outputs: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        examined(write(tmp_path / "m.onnx", table("raw", 2), TWO, outputs=outputs, **metadata))


def test_half_precision_becomes_no_int8(tmp_path: Path) -> None:
    path = tiny_model.build(tmp_path / "half.onnx", dtype=np.float16)
    with pytest.raises(SettingsError, match=r"computes in half precision \(fp16\), and INT8 is made from float32"):
        examined(path)
    assert examined(path, precision="fp16") == "raw"


def test_a_model_without_names_is_left_to_the_engine(tmp_path: Path) -> None:
    assert examined(write(tmp_path / "m.onnx", table("raw", 2))) is None


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(SettingsError, match=r"m.onnx is no ONNX model"):
        examined(tmp_path / "m.onnx")
    small = tmp_path / "small.onnx"
    small.write_bytes(build().SerializeToString())
    assert examined(small, precision="fp16") in (None, "raw")
