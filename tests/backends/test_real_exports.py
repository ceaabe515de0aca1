"""Exports of ultralytics, of networks that nobody trained: the same boxes as its own `predict`, whatever the picture.

An untrained head gives hardly a score; here its last layer is drawn at random so that some boxes pass the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from detector_service import open_service
from perception.backends.preprocess import Preprocessor
from perception.core.detections import Detections
from perception.core.frame import Frame, Image
from perception.settings.model import EngineSettings, ModelSettings, Settings
from perception.system.home import ROOT
from perception.workshop.quantize.agreement import agreement
from perception.workshop.quantize.ultralytics_model import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # torch has much to say of its own exporter
    pytest.mark.needs("torch"),
]
SIDE = 320
CONF, IOU = 0.25, 0.7
CLASSES = ("car", "truck", "bus", "bicycle", "motorcycle", "person")


def untrained(folder: Path, network: str, classes: int) -> Path:
    """Saves a network whose scores are drawn at random, as a checkpoint."""
    import torch
    from ultralytics import RTDETR, YOLO

    torch.manual_seed(3)
    model = (RTDETR if network.startswith("rtdetr") else YOLO)(f"{network}.yaml")
    layers = model.model.yaml
    layers["nc"] = classes
    net = type(model.model)(layers, verbose=False)
    enliven(net, classes)
    net.names = dict(enumerate(CLASSES[:classes]))
    net.args = {**model.overrides, "imgsz": SIDE}
    path = folder / f"{network}.pt"
    torch.save({"model": net, "train_args": {"imgsz": SIDE}}, path)
    return path


def enliven(net: Any, classes: int) -> None:
    """Draws the layers that give scores, so that one score in 1000 passes the threshold in a real picture."""
    import torch

    tensor = torch.from_numpy(Preprocessor((SIDE, SIDE))(pictures())[0])
    seen: dict[Any, Any] = {}
    parts = [part for part in net.model[-1].modules() if getattr(part, "bias", None) is not None]
    parts = [part for part in parts if classes in (getattr(part, "out_channels", 0), getattr(part, "out_features", 0))]
    for part in parts:
        part.register_forward_hook(lambda part, _, output: seen.__setitem__(part, output))
    with torch.inference_mode(False), torch.no_grad():
        for part in parts:
            part.weight.normal_(0, 1)
            part.bias.zero_()
        norms = [part for part in net.eval().modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for part in norms:  # as after training: else nothing of the picture is left at the head
            part.momentum = 1.0
            part.train()
        net(tensor)
        net.eval()(tensor)
        for part, logits in seen.items():
            scale = 1.5 / float(logits.std())
            part.weight *= scale
            part.bias.fill_(np.log(CONF / (1 - CONF)) - float(torch.quantile(logits.flatten() * scale, 0.9992)))
        for part in net.model[-1].modules():
            if getattr(part, "out_channels", 0) == 4 and part.bias is not None:  # distances, of YOLO26
                part.bias.fill_(3.0)
    for part in parts:
        part._forward_hooks.clear()


def pictures() -> list[Image]:
    """One as wide as a camera's, a square one, a tall one."""
    whole = np.asarray(cv2.imread(str(ROOT / "docs" / "drive.jpg")), np.uint8)
    return [whole, np.ascontiguousarray(whole[:300, :300]), np.ascontiguousarray(whole[:400, 100:260])]


def theirs(model: Any, image: Image) -> Detections:
    (result,) = model.predict(image, rect=False, imgsz=SIDE, conf=CONF, iou=IOU, verbose=False)
    boxes = result.boxes
    height, width = image.shape[:2]
    inside = np.clip(boxes.xyxy.numpy(), 0, (width, height, width, height))  # of RT-DETR it leaves them as they are
    return Detections(inside.astype(np.float32), boxes.conf.numpy(), boxes.cls.numpy().astype(np.int64))


def seen(found: Detections) -> Detections:
    """Those of which something lies in the picture: nobody taught the network where that ends."""
    inside = (found.xyxy[:, 2:] - found.xyxy[:, :2] > 1).all(axis=1)
    return Detections(found.xyxy[inside], found.confidence[inside], found.class_id[inside])


def assert_the_same(path: Path, layout: str, reference: Path) -> None:
    wanted = Settings(
        model=ModelSettings(weights=str(path), conf=CONF, iou=IOU), classes=CLASSES, allow_cpu=True,
        engine=EngineSettings(dir=path.parent),
    )  # fmt: skip
    model = load(str(reference))
    with open_service(wanted.model_copy(update={"classes": tuple(model.names.values())})) as service:
        assert service.info.layout == layout
        assert service.info.input_hw == (SIDE, SIDE), "as it was trained, or exported"
        pairs = [
            (seen(theirs(model, image)), seen(service.detect([Frame(image, 0, 0.0, "test")])[0].detections))
            for image in pictures()
        ]
    agreed = agreement(pairs)
    print(f"{path.name}: {agreed.vehicles} boxes, IoU >= {min(agreed.ious):.4f}, within {max(agreed.differences):.5f}")
    assert agreed.vehicles >= 3, "nothing to compare"
    assert agreed.same_count == 1
    assert agreed.share_matched == 1
    assert min(agreed.ious) >= 0.99
    assert max(agreed.differences) <= 0.002


def export_nms_as_an_operator() -> None:
    """What torchvision does where it loads: its NMS becomes NonMaxSuppression of ONNX."""
    import sys

    import torch
    from ultralytics.utils.nms import TorchNMS

    class Nms(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(_: Any, boxes: Any, scores: Any, iou: float) -> Any:
            return TorchNMS.nms(boxes, scores, iou)

        @staticmethod
        def symbolic(g: Any, boxes: Any, scores: Any, iou: float) -> Any:
            def constant(value: Any) -> Any:
                return g.op("Constant", value_t=torch.tensor(value))

            boxes = g.op("Unsqueeze", boxes, constant([0]))
            scores = g.op("Unsqueeze", scores, constant([0, 1]))
            kept = g.op("NonMaxSuppression", boxes, scores, constant([10_000]), constant([iou]))
            return g.op("Gather", kept, constant(2), axis_i=1)

    sys.modules["torchvision.ops"].nms = Nms.apply  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("network", "flags", "layout"),
    [
        ("yolov8n", {}, "raw"),
        ("yolo11n", {}, "raw"),
        ("yolov10n", {"nms": False}, "end_to_end"),
        ("yolo26n", {"nms": False}, "end_to_end"),
        ("yolov8n", {"nms": True}, "end_to_end"),
        ("rtdetr-l", {}, "rtdetr"),
    ],
    ids=["YOLOv8", "YOLO11", "YOLOv10", "YOLO26", "NMS inside", "RT-DETR"],
)
def test_an_onnx_export_gives_what_predict_gives(
    tmp_path: Path, network: str, flags: Mapping[str, Any], layout: str
) -> None:
    weights = untrained(tmp_path, network, len(CLASSES))
    model = load(str(weights))
    if flags.get("nms"):
        export_nms_as_an_operator()
    model.export(format="onnx", imgsz=SIDE, opset=17, simplify=False, device="cpu", **flags)
    weights.rename(weights.with_suffix(".kept"))
    assert_the_same(weights.with_suffix(".onnx"), layout, weights.with_suffix(".onnx"))


@pytest.mark.parametrize(("network", "layout"), [("yolo26n", "raw"), ("rtdetr-l", "rtdetr")])
def test_a_checkpoint_gives_what_predict_gives(tmp_path: Path, network: str, layout: str) -> None:
    weights = untrained(tmp_path, network, len(CLASSES))
    assert_the_same(weights, layout, weights)


@pytest.mark.parametrize("classes", [1, 2])
def test_a_head_like_that_of_yolov5_gives_what_predict_gives(tmp_path: Path, classes: int) -> None:
    """The head is that of YOLOv8, its scores split into an objectness and a share for each class."""
    weights = untrained(tmp_path, "yolov8n", classes)
    load(str(weights)).export(format="onnx", imgsz=SIDE, opset=17, simplify=False, device="cpu")
    weights.rename(weights.with_suffix(".kept"))
    reference = weights.with_suffix(".onnx")
    assert_the_same(split_scores(reference, tmp_path / "v5.onnx", classes), "yolov5", reference)


def split_scores(onnx: Path, target: Path, classes: int) -> Path:
    import onnx as library
    from onnx import helper, numpy_helper

    model = library.load(onnx)
    graph = model.graph
    (output,) = graph.output
    cells = output.type.tensor_type.shape.dim[2].dim_value

    def numbers(name: str, values: npt.ArrayLike) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    graph.node.extend(
        [
            helper.make_node("Transpose", ["output0"], ["rows"], perm=[0, 2, 1]),
            helper.make_node("Split", ["rows", numbers("parts", np.array([4, classes]))], ["place", "scores"], axis=2),
            helper.make_node("ReduceMax", ["scores"], ["best"], axes=[2], keepdims=1),
            helper.make_node("Add", ["best", numbers("tiny", np.array(1e-12, np.float32))], ["more"]),
            helper.make_node("Sqrt", ["more"], ["objectness"]),
            helper.make_node("Div", ["scores", "objectness"], ["shares"]),
            helper.make_node("Concat", ["place", "objectness", "shares"], ["output5"], axis=2),
        ]
    )
    graph.output.remove(output)
    graph.output.append(helper.make_tensor_value_info("output5", library.TensorProto.FLOAT, [1, cells, 5 + classes]))
    library.save(model, target)
    return target
