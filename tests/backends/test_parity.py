"""The same vehicles as `ultralytics predict` on the same footage: count, IoU >= 0.999, confidence within 0.001."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector_service import open_service
from perception.config import CpuSettings, ModelSettings, Settings
from perception.frame import Detections, Frame
from perception.workshop.benchmark import predict

VEHICLES = (1, 2, 3, 5, 7)


def reference(weights: Path, clip: Path, folder: Path) -> list[dict[str, list[list[float]]]]:
    """What ultralytics says of each frame, from a process of its own."""
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, predict.__file__, weights, clip], capture_output=True, text=True, env=environment, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def worst_match(ours: Detections, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """The lowest IoU and the largest difference of confidence over one-to-one pairs of one class."""
    lowest, largest = 1.0, 0.0
    free = set(range(len(boxes)))
    for box, score, kind in zip(ours.xyxy, ours.confidence, ours.class_id):
        pairs = {index: overlap(box, boxes[index]) for index in free if classes[index] == kind}
        assert pairs, f"nothing of class {kind} is left to match {box}"
        best = max(pairs, key=pairs.__getitem__)
        free.remove(best)
        lowest, largest = min(lowest, pairs[best]), max(largest, abs(float(score - scores[best])))
    return lowest, largest


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    inter = float(np.prod(np.clip(high - low, 0, None)))
    return inter / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - inter)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [".onnx", ".pt"])
@pytest.mark.parametrize("clip", ["dashcam_a_720p", "dashcam_b_720p", "highway_540p"])
def test_the_same_vehicles_as_ultralytics_predict(data: Path, tmp_path: Path, clip: str, kind: str) -> None:
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed: pip install -r requirements-torch.txt")
    weights = tmp_path / f"yolov8n{kind}"
    weights.symlink_to(data / "weights" / weights.name)
    video = data / "clips" / f"{clip}.mp4"
    expected = reference(weights, video, tmp_path)
    settings = Settings(model=ModelSettings(weights=str(weights)), cpu=CpuSettings(), allow_cpu=True)
    capture = cv2.VideoCapture(str(video))
    frames = vehicles = 0
    lowest, largest = 1.0, 0.0
    with open_service(settings) as service:
        assert service.info.name == ("pytorch" if kind == ".pt" else "onnxruntime")
        for found in expected:
            read, image = capture.read()
            assert read, f"ultralytics gave {len(expected)} frames, the file holds {frames}"
            ours = service.detect(Frame(np.asarray(image, np.uint8), frames, 0.0, "clip")).detections
            classes = np.array(found["cls"], int)
            keep = np.isin(classes, VEHICLES)
            boxes, scores = np.array(found["xyxy"]).reshape(-1, 4)[keep], np.array(found["conf"])[keep]
            assert len(ours) == len(boxes), f"frame {frames}"
            iou, difference = worst_match(ours, boxes, scores, classes[keep])
            lowest, largest = min(lowest, iou), max(largest, difference)
            frames, vehicles = frames + 1, vehicles + len(ours)
    print(f"{clip} {kind}: {frames} frames, {vehicles} vehicles, IoU >= {lowest:.6f}, confidence within {largest:.6f}")
    assert vehicles > frames / 2
    assert lowest >= 0.999
    assert largest <= 0.001
