"""The head of a detector is found by the graph's structure, whatever its nodes are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.core.errors import SettingsError
from perception.workshop.quantize.graph import DECODE, DEPTHWISE, DFL, depthwise, keep, nameless, protected, read
from tests.doubles.tiny_model import build as build_tiny
from tests.workshop.quantize.small_yolo import build, make_depthwise, refine

OUTPUTS = {f"/model.8/cv{branch}.{level}/cv{branch}.{level}.2/Conv" for branch in (2, 3) for level in (0, 1)}


def test_the_head_is_kept_from_behind_its_last_convolutions_on() -> None:
    kept = protected(build())
    assert set(kept.outputs) == OUTPUTS
    assert not OUTPUTS & set(kept.names)
    assert {name for name, why in kept.why.items() if why == DFL} == {"/model.8/dfl/Softmax", "/model.8/dfl/conv/Conv"}
    assert {"/model.8/Sigmoid", "/model.8/Mul_2", "/model.8/Concat_3"} <= set(kept.names)


def test_no_activation_and_no_block_is_kept_besides() -> None:
    kept = protected(build())
    assert not [name for name in kept.names if "/act/" in name]
    assert all(name.startswith("/model.8/") for name in kept.names)


def test_the_names_of_the_nodes_do_not_matter() -> None:
    model = build()
    known = protected(model)
    for number, node in enumerate(model.graph.node):
        node.name = f"node {number}"
    assert list(protected(model).why.values()) == list(known.why.values())
    assert len(protected(model).outputs) == len(OUTPUTS)


def test_nodes_without_names_and_weights_in_constants_are_as_good_as_any(tmp_path: Path) -> None:
    """Exporters of other frameworks, and optimisers, write both."""
    from onnx import helper

    known = keep(build())
    model = build()
    for node in model.graph.node:
        node.ClearField("name")
    weights = [(entry.name, entry) for entry in model.graph.initializer]
    constants = [helper.make_node("Constant", [], [name], value=value) for name, value in weights]
    nodes = [type(node).FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend([*constants, *nodes])
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    assert nameless(tmp_path / "bare.onnx") == len(constants) + len(nodes)
    bare = keep(read(tmp_path / "bare.onnx"))
    assert len(bare.outputs) == len(known.outputs) > 0
    assert bare.counts() == known.counts()


def test_weights_that_are_computed_are_told() -> None:
    from onnx import helper

    model = build()
    for node in [node for node in model.graph.node if node.op_type == "Conv"]:
        model.graph.node.insert(
            0, helper.make_node("Identity", [node.input[1]], [f"{node.name}.w"], f"{node.name}.copy")
        )
        node.input[1] = f"{node.name}.w"
    with pytest.raises(SettingsError, match=r"convolutions 0 lie next.*and \d+ have weights that are computed"):
        protected(model)


def test_the_dfl_of_an_older_opset_which_turns_its_softmax_about_is_no_output() -> None:
    from onnx import helper

    model = build()
    known = protected(model)
    convolution = next(node for node in model.graph.node if node.name == "/model.8/dfl/conv/Conv")
    model.graph.node.append(helper.make_node("Transpose", [convolution.input[0]], ["turned"], name="/turn"))
    convolution.input[0] = "turned"
    assert protected(model).why == {**known.why, "/turn": DECODE}
    assert protected(model).outputs == known.outputs


def test_it_says_how_much_is_kept() -> None:
    kept = keep(build())
    assert kept.counts() == {DEPTHWISE: 2, DECODE: 12, DFL: 2}
    assert str(kept) == f"2 x {DEPTHWISE}, 12 x {DECODE}, 2 x {DFL}"


def test_a_size_that_is_computed_leads_to_no_convolution() -> None:
    from onnx import helper

    model = build(batch="batch")
    reshape = next(node for node in model.graph.node if node.name == "/model.8/dfl/Reshape_1")
    sized = helper.make_node("Shape", ["/model.7/conv/Conv_output_0"], ["size"], name="/model.8/Shape")
    grown = helper.make_node("Mul", [reshape.output[0], "size"], ["grown"], name="/model.8/Mul_9")
    for node in model.graph.node:
        node.input[:] = ["grown" if name == reshape.output[0] else name for name in node.input]
    model.graph.node.extend((sized, grown))
    kept = protected(model)
    assert set(kept.outputs) == OUTPUTS
    assert "/model.8/Shape" in kept.names


def test_depthwise_convolutions_are_those_with_groups() -> None:
    assert depthwise(build()).names == tuple(f"/model.8/cv3.{level}/cv3.{level}.0.0/conv/Conv" for level in (0, 1))


def test_an_output_convolution_that_is_depthwise_stays_in_float() -> None:
    model = build()
    name = "/model.8/cv2.0/cv2.0.2/Conv"
    make_depthwise(model, name)
    kept = keep(model)
    assert set(kept.outputs) == OUTPUTS - {name}
    assert kept.why[name] == DEPTHWISE


def test_an_output_convolution_may_feed_another_convolution() -> None:
    model = build()
    refine(model)
    kept = keep(model)
    assert set(kept.outputs) == OUTPUTS | {"/refine.1/Conv"}
    assert "/refine.0/conv/Conv" not in kept.names


def test_a_model_with_nms_inside_is_refused() -> None:
    from onnx import helper

    model = build()
    model.graph.node.append(helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["kept"], name="/nms"))
    with pytest.raises(SettingsError, match=r"NMS inside \(/nms\).*nms=False"):
        protected(model)


def test_a_model_without_convolutions_has_an_unknown_head(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown: of its 0 convolutions 0 lie next to its outputs.*fp16"):
        protected(read(build_tiny(tmp_path / "tiny.onnx")))


@pytest.mark.parametrize(("content", "told"), [(None, "does not exist"), (b"no model", "is no ONNX model")])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"x.onnx {told}"):
        read(path)


def test_of_yolov8_the_six_output_convolutions_give_float(data: Path) -> None:
    outputs = keep(read(data / "weights" / "yolov8n.onnx")).outputs
    assert sorted(outputs) == [f"/model.22/cv{b}.{n}/cv{b}.{n}.2/Conv" for b in (2, 3) for n in range(3)]


def test_of_our_own_yolo11_the_six_output_convolutions_give_float() -> None:
    model = read(Path(__file__).parents[3] / "models" / "vehicle-n.onnx")
    assert sorted(keep(model).outputs) == [f"/model.23/cv{b}.{n}/cv{b}.{n}.2/Conv" for b in (2, 3) for n in range(3)]
    assert len(depthwise(model).names) == 7
