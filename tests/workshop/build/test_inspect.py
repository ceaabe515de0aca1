"""The inspector's JSON on convolutions: recorded layers of TensorRT 8.6 and of later ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perception.workshop.build.inspect import convolutions, is_convolution, layers_of

VECTOR = "Thirty-two wide channel vectorized row major Int8 format"
# As in NVIDIA's documentation of IEngineInspector (TensorRT developer guide, "Engine Inspector").
DOCUMENTED: dict[str, Any] = {
    "Name": "node_of_gpu_0/res4_0_branch2a_1 + node_of_gpu_0/res4_0_branch2a_bn_1 + node_of_gpu_0/res4_0_branch2a_bn_2",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "gpu_0/res3_3_branch2c_bn_3", "Dimensions": [16, 512, 28, 28], "Format/Datatype": VECTOR}],
    "Outputs": [{"Name": "gpu_0/res4_0_branch2a_bn_2", "Dimensions": [16, 256, 28, 28], "Format/Datatype": VECTOR}],
    "ParameterType": "Convolution",
    "Kernel": [1, 1],
    "OutMaps": 256,
    "Weights": {"Type": "Int8", "Count": 131072},
    "Bias": {"Type": "Float", "Count": 256},
    "Activation": "RELU",
}


def layer(name: str, kind: str = "CaskConvolution", **more: Any) -> dict[str, Any]:
    return {"Name": name, "LayerType": kind, **more}


def weights(kind: str) -> dict[str, Any]:
    return {"Weights": {"Type": kind, "Count": 8}}


LAYERS = [
    DOCUMENTED,
    layer("Reformatting CopyNode for Input Tensor 0 to /model.0/conv/Conv", "NoOp"),
    layer("/model.0/conv/Conv", **weights("Int8")),
    layer("PWN(PWN(/model.0/act/Sigmoid), /model.0/act/Mul)", "PointWiseV2"),
    layer("/model.2/cv1/conv/Conv || /model.2/cv2/conv/Conv", **weights("Int8")),
    layer("/model.22/cv2.0/cv2.0.2/Conv", "CaskGemmConvolution", **weights("Half")),
    layer("/model.9/conv.weight + QuantizeLinear_3 + /model.9/conv/Conv", "CaskJitConv", **weights("Int8")),
    layer("{ForeignNode[/model.22/dfl/Reshape.../model.22/dfl/conv/Conv]}", "Myelin"),
    layer("fused", Metadata="[ONNX Layer: /model.3/conv/Conv]\x1e[ONNX Layer: /model.3/act/Mul]", **weights("Int8")),
    layer("/model.4/conv/Conv", Inputs=[{"Name": "x", "Format/Datatype": VECTOR}]),
    layer("/model.5/conv/Conv", Inputs=[{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}]),
    layer("/model.6/up", "CaskDeconvolution", **weights("Int8")),
]


def test_convolutions_are_counted_by_the_layers_of_the_network() -> None:
    names = [
        "node_of_gpu_0/res4_0_branch2a_1", "/model.0/conv/Conv", "/model.2/cv1/conv/Conv", "/model.2/cv2/conv/Conv",
        "/model.22/cv2.0/cv2.0.2/Conv", "/model.9/conv/Conv", "/model.22/dfl/conv/Conv", "/model.3/conv/Conv",
        "/model.4/conv/Conv", "/model.5/conv/Conv",
    ]  # fmt: skip
    found = convolutions(layers_of(json.dumps({"Layers": LAYERS, "Bindings": []})), names)
    assert found.other == ("/model.22/cv2.0/cv2.0.2/Conv", "/model.5/conv/Conv")
    assert found.unseen == ("/model.22/dfl/conv/Conv",)
    assert len(found.int8) == 7
    assert found.share_int8 == 0.7


def test_names_alone_tell_nothing() -> None:
    found = convolutions(layers_of('{"Layers": ["/model.0/conv/Conv", "b"]}'), ["/model.0/conv/Conv"])
    assert (found.int8, found.unseen, found.share_int8) == ((), ("/model.0/conv/Conv",), 0.0)
    assert convolutions([], []).share_int8 == 0.0


def test_other_layers_are_no_convolutions() -> None:
    assert is_convolution(DOCUMENTED)
    assert not is_convolution(LAYERS[-1])
    assert not is_convolution({"Name": "a conv", "LayerType": "Reformat", "ParameterType": "Reformat"})


@pytest.mark.parametrize("text", ["[]", "{}", '{"Layers": 3}', "no JSON"])
def test_what_is_no_answer_of_an_inspector(text: str) -> None:
    with pytest.raises(ValueError):
        layers_of(text)
