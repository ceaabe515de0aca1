"""A detector with Q/DQ nodes: what it holds, how far it is from the float one, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.preprocess import Preprocessor
from perception.core.decode import decode
from perception.core.detections import Detections
from perception.core.errors import BuildError, SettingsError
from perception.core.layouts import LAYOUTS
from perception.core.nms import nms
from perception.settings.model import COCO_VEHICLES
from perception.workshop.quantize.agreement import agreement
from perception.workshop.quantize.batches import Batches
from perception.workshop.quantize.graph import keep, protected, read
from perception.workshop.quantize.histogram import METHODS
from perception.workshop.quantize.placement import place
from perception.workshop.quantize.quantizer import Quantized, measure, qdq
from tests.workshop.quantize.small_yolo import SIDE, build, make_depthwise, refine

Floats = npt.NDArray[np.float32]
IMAGES = 6


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(5)
    for number in range(IMAGES):
        small = random.integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (2 * SIDE, SIDE)))
    return tuple(sorted(folder.iterdir()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _save(build(), tmp_path / "small.onnx")


@pytest.fixture(scope="module")
def made(images: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """The small model by the usual method."""
    folder = tmp_path_factory.mktemp("made")
    return qdq(_save(build(), folder / "small.onnx"), images, folder / "qdq.onnx")


def _save(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _tensor(path: Path) -> Floats:
    tensor, _ = Preprocessor((SIDE, SIDE))([np.asarray(cv2.imread(str(path)), np.uint8)])
    return tensor.astype(np.float32)


def _answer(path: Path, tensor: Floats) -> Floats:
    import onnxruntime

    answer: Floats = onnxruntime.InferenceSession(str(path)).run(None, {"images": tensor})[0]
    return answer


@pytest.mark.parametrize("method", METHODS)
def test_it_finds_what_the_float_model_finds(
    method: str, model: Path, images: tuple[Path, ...], tmp_path: Path
) -> None:
    target = tmp_path / "qdq.onnx"
    made = qdq(model, images, target, method)
    tensor = _tensor(images[0])
    real, found = _answer(model, tensor), _answer(target, tensor)
    assert not np.array_equal(real, found)
    assert np.abs(real[:, 4:] - found[:, 4:]).max() < 0.03
    assert np.abs(real[:, :4] - found[:, :4]).max() < 2  # pixels
    assert made.images == IMAGES
    assert made.method == method


def test_convolutions_read_symmetric_int8_weights_by_channel_and_float_biases(made: Quantized) -> None:
    graph = read(made.target).graph
    makers = {name: node for node in graph.node for name in node.output}
    weights = {entry.name: entry for entry in graph.initializer}
    quantized = [node for node in graph.node if node.op_type == "Conv" and _is_int8(node, makers)]
    assert len(quantized) == made.convolutions == 17
    for node in quantized:
        scale = weights[makers[node.input[1]].input[1]]
        assert list(scale.dims) == [weights[node.input[2]].dims[0]]  # a scale for each channel, a bias in float
    zero_points = [weights[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert all(_is_int8_zero(entry) for entry in zero_points)


def _is_int8(node: Any, makers: Mapping[str, Any]) -> bool:
    before = [makers.get(name) for name in node.input[:2]]
    return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in before)


def _is_int8_zero(entry: Any) -> bool:
    from onnx import TensorProto, numpy_helper

    return entry.data_type == TensorProto.INT8 and not numpy_helper.to_array(entry).any()


def test_the_head_stays_as_it_was(made: Quantized) -> None:
    before = build()
    after = {node.name: node for node in read(made.target).graph.node}
    for node in before.graph.node:
        if node.name in protected(before).names:
            assert list(after[node.name].input) == list(node.input)


def test_output_convolutions_read_int8_and_give_float(made: Quantized) -> None:
    graph = read(made.target).graph
    makers = {name: node for node in graph.node for name in node.output}
    outputs = [node for node in graph.node if node.name in protected(build()).outputs]
    assert len(outputs) == 4
    assert all(_is_int8(node, makers) for node in outputs)
    given = {node.output[0] for node in outputs}
    assert {node.op_type for node in graph.node if given & set(node.input)} == {"Reshape"}


def test_an_output_convolution_that_is_depthwise_stays_in_float(images: tuple[Path, ...], tmp_path: Path) -> None:
    model = build()
    name = "/model.8/cv2.0/cv2.0.2/Conv"
    make_depthwise(model, name)
    made = qdq(_save(model, tmp_path / "depthwise.onnx"), images, tmp_path / "qdq.onnx")
    graph = read(made.target).graph
    makers = {name: node for node in graph.node for name in node.output}
    assert made.convolutions == 16
    assert not _is_int8(next(node for node in graph.node if node.name == name), makers)


def test_a_pair_behind_an_output_convolution_is_not_between_it_and_the_decoding(
    images: tuple[Path, ...], tmp_path: Path
) -> None:
    model = build()
    refine(model)
    onnx = _save(model, tmp_path / "refined.onnx")
    made = qdq(onnx, images, tmp_path / "qdq.onnx")
    graph = read(made.target).graph
    makers = {name: node for node in graph.node for name in node.output}
    assert made.convolutions == 19
    assert _is_int8(next(node for node in graph.node if node.name == "/refine.0/conv/Conv"), makers)
    boxes = next(node for node in graph.node if node.name == "/model.8/Reshape_0")
    assert boxes.input[0] == "/model.8/cv2.0/cv2.0.2/Conv_output_0"
    tensor = _tensor(images[0])
    assert np.abs(_answer(onnx, tensor) - _answer(made.target, tensor))[:, 4:].max() < 0.03


def test_tied_tensors_have_one_scale(made: Quantized) -> None:
    from onnx import numpy_helper

    graph = read(made.target).graph
    weights = {entry.name: entry for entry in graph.initializer}
    scales = {
        node.input[0]: float(numpy_helper.to_array(weights[node.input[1]]))
        for node in graph.node
        if node.op_type == "QuantizeLinear" and not weights[node.input[1]].dims
    }
    block = ("/model.2/cv1/act/Mul_output_0", "/model.2/m.0/Add_output_0", "/model.2/Concat_output_0")
    assert len({scales[name] for name in block}) == 1
    assert scales["images"] == pytest.approx(1 / 127, rel=0.1)


def test_metadata_and_versions_are_those_of_the_float_model(made: Quantized) -> None:
    before, after = build(), read(made.target)
    assert after.metadata_props == before.metadata_props
    assert after.ir_version == before.ir_version
    assert {entry.domain: entry.version for entry in after.opset_import}[""] == 17


def test_progress_counts_images_also_in_batches(images: tuple[Path, ...], tmp_path: Path) -> None:
    onnx = _save(build(batch=4), tmp_path / "batch.onnx")
    events: list[Mapping[str, Any]] = []
    qdq(onnx, images, tmp_path / "qdq.onnx", progress=events.append)
    counted = [(event["done"], event["of"]) for event in events if event.get("what") == "calibration"]
    assert counted == [(4, 6), (6, 6)]
    assert any(
        "17 of 20 convolutions become INT8, of which 4, the last of the head, give float; in float stay 2 x depthwise "
        in str(event.get("text"))
        for event in events
    )


def test_each_picture_is_counted_once_also_where_the_last_batch_is_filled_up(images: tuple[Path, ...]) -> None:
    model = build(batch=4)
    sources = place(model, keep(model).names).sources()
    seen = measure(model, sources, Batches(images, (4, 3, SIDE, SIDE)), lambda _: None)
    assert seen["images"].counts.sum() == IMAGES * 3 * SIDE * SIDE
    assert seen["/model.0/act/Mul_output_0"].counts.sum() == IMAGES * 8 * (SIDE // 2) ** 2


def test_an_open_batch_is_calibrated_one_by_one(images: tuple[Path, ...], tmp_path: Path) -> None:
    onnx = _save(build(batch="n"), tmp_path / "open.onnx")
    made = qdq(onnx, images, tmp_path / "qdq.onnx")
    tensor = np.concatenate([_tensor(images[0]), _tensor(images[1])])
    assert _answer(made.target, tensor).shape[0] == 2


def test_facts_are_json(made: Quantized) -> None:
    facts = json.loads(json.dumps(made.facts()))
    assert (facts["int8_convolutions"], facts["convolutions"], facts["images"]) == (17, 20, IMAGES)
    assert facts["float_outputs"] == 4
    assert facts["protected"] == keep(build()).counts()


def test_a_quantized_model_is_refused(made: Quantized, images: tuple[Path, ...], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has Q/DQ nodes already"):
        qdq(made.target, images, tmp_path / "again.onnx")


def test_an_unknown_method_is_told_those_there_are(model: Path, images: tuple[Path, ...], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no method 'best'.*percentile, mse, minmax, entropy"):
        qdq(model, images, tmp_path / "qdq.onnx", "best")


def test_no_images_are_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no images to calibrate on"):
        qdq(model, (), tmp_path / "qdq.onnx")


def test_an_old_opset_is_refused(images: tuple[Path, ...], tmp_path: Path) -> None:
    model = build()
    model.opset_import[0].version = 12
    with pytest.raises(SettingsError, match="has opset 12, and Q/DQ needs 13"):
        qdq(_save(model, tmp_path / "old.onnx"), images, tmp_path / "qdq.onnx")


def test_another_input_than_pictures_is_refused(images: tuple[Path, ...], tmp_path: Path) -> None:
    model = build()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(SettingsError, match="does not take float32 pictures"):
        qdq(_save(model, tmp_path / "grey.onnx"), images, tmp_path / "qdq.onnx")


def test_weights_that_are_no_numbers_leave_no_file(images: tuple[Path, ...], tmp_path: Path) -> None:
    from onnx import numpy_helper

    model = build()
    bias = next(entry for entry in model.graph.initializer if entry.name == "/model.1/conv/Conv.bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(16, np.nan, np.float32), bias.name))
    with pytest.raises(BuildError, match=r"^/model.1/act/Mul_output_0 holds values that are no numbers"):
        qdq(_save(model, tmp_path / "broken.onnx"), images, tmp_path / "qdq.onnx")
    assert not (tmp_path / "qdq.onnx").exists()


def test_a_model_that_cannot_run_says_why(images: tuple[Path, ...], tmp_path: Path) -> None:
    model = build()
    model.graph.node[0].input[0] = "nothing"
    with pytest.raises(BuildError, match="ONNX Runtime cannot run the model"):
        qdq(_save(model, tmp_path / "broken.onnx"), images, tmp_path / "qdq.onnx")


@pytest.mark.slow
def test_yolov8_in_int8_finds_the_vehicles_of_the_float_model(data: Path, tmp_path: Path) -> None:
    pictures = sorted((data / "labelled" / "vehicles" / "images" / "val").iterdir())
    onnx = data / "weights" / "yolov8n.onnx"
    made = qdq(onnx, pictures[::40], tmp_path / "qdq.onnx")
    others = pictures[10::30]
    found = agreement(zip(_vehicles(onnx, others), _vehicles(made.target, others)))
    assert found.vehicles >= 5
    assert found.share_matched >= 0.7
    assert found.share_of_iou(0.8) >= 0.9
    assert (made.convolutions, made.of) == (63, 64)


def _vehicles(onnx: Path, pictures: Sequence[Path]) -> list[Detections]:
    """Return what a model is sure of in each picture."""
    found = []
    session = OnnxRuntimeSession(onnx, 640, 0)
    names = session.facts.names
    ids = [number for number, name in names.items() if name in COCO_VEHICLES]
    preprocess = Preprocessor((640, 640))
    for path in pictures:
        tensor, (place,) = preprocess([np.asarray(cv2.imread(str(path)), np.uint8)])
        seen = decode(session.run(tensor)[0], LAYOUTS["raw"], 0.4, ids)
        found.append(nms(replace(seen, xyxy=place.to_image(seen.xyxy)), 0.7, place.image_hw))
    return found
