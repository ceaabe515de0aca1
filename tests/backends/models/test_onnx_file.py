"""The precision of an ONNX file, read from its bytes; and ONNX Runtime's reasons as the user reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.backends.models.onnx_file import read_facts
from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.core.errors import BackendError
from perception.system.reasons import MOST_CHARACTERS, cause_of
from tests.doubles import tiny_model
from tests.workshop.build import small_network


def half_inside(path: Path) -> Path:
    """A model whose input and output are float32, and whose weights are float16."""
    import onnx
    from onnx import helper

    model = onnx.load(small_network.build(path))
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT and len(weights.dims) == 4:
            values = onnx.numpy_helper.to_array(weights).astype(np.float16)
            weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    nodes = []
    for node in model.graph.node:
        wide = [name for name in node.input if any(entry.name == name and entry.data_type == 10
                                                   for entry in model.graph.initializer)]  # fmt: skip
        for name in wide:
            nodes.append(helper.make_node("Cast", [name], [f"{name}.f"], f"{name}.cast", to=onnx.TensorProto.FLOAT))
            node.input[list(node.input).index(name)] = f"{name}.f"
        nodes.append(node)
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    path.write_bytes(model.SerializeToString())
    return path


def test_the_label_is_that_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    assert read_facts(small_network.build(path)).precision == "fp32"
    assert OnnxRuntimeSession(path, None, 1).precision == "fp32"
    assert OnnxRuntimeSession(small_network.build(path, quantized=True), None, 1).precision == "int8"
    assert OnnxRuntimeSession(tiny_model.build(path, dtype=np.float16), None, 1).precision == "fp16"
    assert OnnxRuntimeSession(half_inside(path), None, 1).precision == "fp16"


def test_weights_in_constants_count_too(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    model = onnx.load(tiny_model.build(tmp_path / "m.onnx", dtype=np.float16))
    held = [entry for entry in model.graph.initializer if entry.name == "table"]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["table"], value=held[0]))
    model.graph.initializer.remove(held[0])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert read_facts(tmp_path / "m.onnx").precision == "fp16"


def test_a_file_that_is_cut_or_none_is_refused(tmp_path: Path) -> None:
    whole = tiny_model.build(tmp_path / "m.onnx").read_bytes()
    for data in (b"", b"no model", whole[:-3], b"\x0b" * 9, b"\xff" * 20):
        (tmp_path / "x.onnx").write_bytes(data)
        with pytest.raises(ValueError):
            read_facts(tmp_path / "x.onnx")


def changed(path: Path, change: Any) -> Path:
    import onnx

    model = onnx.load(tiny_model.build(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def newer(model: Any) -> None:
    model.ir_version = 99


def newer_opset(model: Any) -> None:
    model.opset_import[0].version = 99


def weights_elsewhere(model: Any) -> None:
    table = next(entry for entry in model.graph.initializer if entry.name == "table")
    table.ClearField("raw_data")
    table.data_location = 1
    entry = table.external_data.add()
    entry.key, entry.value = "location", "m.onnx.data"


def plugin(model: Any) -> None:
    model.graph.node[-1].op_type = "EfficientNMS_TRT"
    model.graph.node[-1].domain = "TRT"


@pytest.mark.parametrize(
    ("change", "cause", "cure"),
    [
        (newer, "Unsupported model IR version: 99", "update onnxruntime"),
        (newer_opset, "Opset 99 is under development|official support for domain ai.onnx", "opset 17"),
        (weights_elsewhere, "m.onnx.data", r"\(\*.data\) beside it"),
        (plugin, "TRT", "plugins of TensorRT: export it without NMS inside"),
    ],
)
def test_the_cause_and_the_cure_of_the_usual_faults_are_told(
    tmp_path: Path, change: Any, cause: str, cure: str
) -> None:
    folder = tmp_path / ("long " * 20) / ("path " * 20)
    folder.mkdir(parents=True)
    with pytest.raises(BackendError, match=cause) as caught:
        OnnxRuntimeSession(changed(folder / "m.onnx", change), None, 1)
    with pytest.raises(BackendError, match=cure):
        raise caught.value
    assert str(caught.value).isprintable()


def test_of_a_long_reason_the_beginning_and_the_end_are_kept() -> None:
    told = cause_of(RuntimeError("begins\n" + "middle " * 200 + "\x1bends"))
    assert told.startswith("begins middle")
    assert told.endswith("middle ends")
    assert len(told) <= MOST_CHARACTERS + 5
    assert cause_of(ValueError()) == "ValueError"
