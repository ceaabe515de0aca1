"""From the shipped weights to ONNX by the real exporter: the graph that ships, and one for several pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.core.errors import BuildError
from perception.system.home import ROOT
from perception.workshop.export.stages.onnx_stage import run
from perception.workshop.quantize.onnx import onnx_from_weights

# What torch says of its own exporters is for ultralytics.
pytestmark = [pytest.mark.needs("torch"), pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WEIGHTS, SHIPPED = ROOT / "models" / "vehicle-n.pt", ROOT / "models" / "vehicle-n.onnx"


def export(folder: Path, **changes: Any) -> bytes:
    target = folder / "made.onnx"
    request = {"weights": str(WEIGHTS), "target": str(target), "imgsz": 64, "dynamic_batch": False, **changes}
    events: list[Any] = []
    assert run(request, events.append) == {"onnx": str(target), "bytes": target.stat().st_size}
    assert events == [{"event": "stage", "name": "weights to ONNX: vehicle-n.pt"}]
    return target.read_bytes()


def test_the_shipped_weights_give_the_shipped_graph() -> None:
    import onnx

    assert onnx_from_weights(WEIGHTS, 640).graph == onnx.load(str(SHIPPED)).graph


def test_the_same_weights_give_the_same_file_and_an_open_batch_the_same_figures(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    plain = export(tmp_path)
    assert export(tmp_path) == plain
    several = export(tmp_path, dynamic_batch=True)
    sizes = onnx.load_from_string(several).graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in sizes] == [0, 3, 64, 64]
    one, many = (onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]) for data in (plain, several))
    pictures = np.random.default_rng(1).random((3, 3, 64, 64), np.float32)
    apart = np.concatenate([one.run(None, {"images": pictures[place : place + 1]})[0] for place in range(3)])
    np.testing.assert_allclose(many.run(None, {"images": pictures})[0], apart, atol=1e-4)


def test_what_is_no_detector_is_told_in_a_sentence(tmp_path: Path) -> None:
    weights = tmp_path / "broken.pt"
    weights.write_bytes(b"PK\3\4 no weights at all")
    with pytest.raises(BuildError, match=r"broken\.pt cannot be exported: ") as caught:
        onnx_from_weights(weights, 64)
    assert str(caught.value).count("\n") == 0
