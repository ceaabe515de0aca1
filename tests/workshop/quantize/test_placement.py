"""Q/DQ pairs stand where TensorRT wants them."""

from __future__ import annotations

from pathlib import Path

from perception.workshop.quantize.graph import Graph, keep, protected, read
from perception.workshop.quantize.placement import Group, Placement, place
from tests.workshop.quantize.small_yolo import build


def _placed() -> Placement:
    model = build()
    return place(model, keep(model).names)


def _group(placement: Placement, tensor: str) -> Group:
    return next(group for group in placement.groups if tensor in group.tensors)


def test_every_convolution_but_the_protected_reads_int8() -> None:
    model = build()
    placement = _placed()
    paired = {name for group in placement.groups for name in group.tensors}
    names = {node.name: node.input[0] for node in Graph(model).convolutions()}
    assert set(placement.convolutions) == set(names) - set(keep(model).names)
    assert {names[name] for name in placement.convolutions} <= paired


def test_no_pair_stands_between_a_convolution_and_its_activation() -> None:
    paired = {name for group in _placed().groups for name in group.tensors}
    assert not [name for name in paired if name.endswith("/conv/Conv_output_0")]


def test_a_concat_and_what_goes_in_share_one_range() -> None:
    block = _group(_placed(), "/model.2/Concat_output_0")
    assert {
        "/model.2/cv1/act/Mul_output_0",
        "/model.2/Split_output_0",
        "/model.2/Split_output_1",
        "/model.2/m.0/Add_output_0",
    } <= set(block.tensors)
    assert block.sources == ("/model.2/cv1/act/Mul_output_0", "/model.2/m.0/Add_output_0")


def test_pooling_and_resize_keep_the_range_of_their_input() -> None:
    placement = _placed()
    assert "/model.4/m/MaxPool_output_0" in _group(placement, "/model.3/act/Mul_output_0").tensors
    assert "/model.5/Resize_output_0" in _group(placement, "/model.4/cv2/act/Mul_output_0").tensors
    assert "/model.5/Resize" in placement.crossed


def test_both_inputs_of_a_residual_sum_have_pairs_but_ranges_of_their_own() -> None:
    placement = _placed()
    inner = _group(placement, "/model.2/m.0/cv2/act/Mul_output_0")
    assert inner.tensors == ("/model.2/m.0/cv2/act/Mul_output_0",)
    assert inner is not _group(placement, "/model.2/m.0/Add_output_0")
    assert "/model.2/m.0/Add" in placement.crossed


def test_nothing_behind_the_output_convolutions_has_a_pair() -> None:
    head = protected(build())
    behind = {*head.names, *head.outputs}
    makers = {name: node.name for node in Graph(build()).nodes for name in node.output}
    paired = {name for group in _placed().groups for name in group.tensors}
    assert not [name for name in paired if makers.get(name) in behind]
    assert "/model.8/cv2.0/cv2.0.0/act/Mul_output_0" in paired, "an output convolution reads it"


def test_each_tensor_is_measured_once_and_none_that_only_moves_values() -> None:
    sources = _placed().sources()
    assert len(sources) == len(set(sources))
    assert "images" in sources
    assert not [name for name in sources if any(word in name for word in ("Split", "Concat", "MaxPool", "Resize"))]


def test_of_yolov8_all_convolutions_but_that_of_the_dfl_become_int8(data: Path) -> None:
    model = read(data / "weights" / "yolov8n.onnx")
    placement = place(model, keep(model).names)
    total = sum(node.op_type == "Conv" for node in model.graph.node)
    assert (len(placement.convolutions), total) == (63, 64)
    assert not [name for name in placement.crossed if name.startswith("/model.22/")]


def test_of_our_own_yolo11_all_but_the_dfl_and_seven_depthwise_convolutions_become_int8() -> None:
    model = read(Path(__file__).parents[3] / "models" / "vehicle-n.onnx")
    placement = place(model, keep(model).names)
    total = sum(node.op_type == "Conv" for node in model.graph.node)
    assert (len(placement.convolutions), total) == (80, 88)
    assert not [name for name in placement.crossed if name.startswith("/model.23/")]
