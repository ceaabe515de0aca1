"""The same vehicles as `ultralytics predict` on the same footage: count, IoU >= 0.999, confidence within 0.001."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector_service import open_service
from perception.core.detections import Detections
from perception.core.frame import Frame
from perception.lab.benchmark import predict
from perception.settings.model import CpuSettings, ModelSettings, Settings
from perception.workshop.quantize.agreement import agreement

VEHICLES = (1, 2, 3, 5, 7)


def reference(weights: Path, clip: Path, folder: Path) -> list[dict[str, list[list[float]]]]:
    """What ultralytics says of each frame, from a process of its own."""
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, predict.__file__, weights, clip], capture_output=True, text=True, env=environment, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def vehicles_of(found: dict[str, list[list[float]]]) -> Detections:
    """The vehicles of one frame of ultralytics."""
    classes = np.array(found["cls"], np.int64)
    keep = np.isin(classes, VEHICLES)
    boxes, scores = np.array(found["xyxy"], np.float32).reshape(-1, 4), np.array(found["conf"], np.float32)
    return Detections(boxes[keep], scores[keep], classes[keep])


@pytest.mark.slow
@pytest.mark.needs("torch")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [".onnx", ".pt"])
@pytest.mark.parametrize("clip", ["dashcam_a_720p", "dashcam_b_720p", "highway_540p"])
def test_the_same_vehicles_as_ultralytics_predict(data: Path, tmp_path: Path, clip: str, kind: str) -> None:
    weights = tmp_path / f"yolov8n{kind}"
    weights.symlink_to(data / "weights" / weights.name)
    video = data / "clips" / f"{clip}.mp4"
    expected = reference(weights, video, tmp_path)
    settings = Settings(model=ModelSettings(weights=str(weights)), cpu=CpuSettings(), allow_cpu=True)
    capture = cv2.VideoCapture(str(video))
    pairs = []
    with open_service(settings) as service:
        assert service.info.name == ("pytorch" if kind == ".pt" else "onnxruntime")
        for number, found in enumerate(expected):
            read, image = capture.read()
            assert read, f"ultralytics gave {len(expected)} frames, the file holds {number}"
            ours = service.detect([Frame(np.asarray(image, np.uint8), number, 0.0, "clip")])[0].detections
            theirs = vehicles_of(found)
            assert len(ours) == len(theirs), f"frame {number}"
            pairs.append((theirs, ours))
    agreed = agreement(pairs)
    lowest, largest = min(agreed.ious), max(agreed.differences)
    print(f"{clip} {kind}: {agreed.frames} frames, {agreed.vehicles} vehicles, ", end="")
    print(f"IoU >= {lowest:.6f}, confidence within {largest:.6f}")
    assert agreed.vehicles > agreed.frames / 2
    assert agreed.share_matched == 1
    assert lowest >= 0.999
    assert largest <= 0.001
