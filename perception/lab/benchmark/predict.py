"""ultralytics' predict, for comparison.

As a program: predict.py WEIGHTS CLIP [FRAMES] prints a JSON line a frame; predict.py --time WEIGHTS CLIP the
milliseconds of each of TIMED frames that are held in memory, as one JSON list.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

# What our own input is: the full square, not the rectangle that predict would choose for a .pt by default.
TIMED = 300
OPTIONS = {"rect": False, "imgsz": 640, "verbose": False}


def load_with_threads(weights: str, image: Any, threads: int) -> Any:
    """Load a model and predict once, with `threads` threads (0: one a core) instead of ultralytics' own choice.

    ultralytics leaves one core free, which on two cores would compare one thread with two.
    """
    import torch

    model = load(weights)
    model.predict(image, **OPTIONS)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    return model


def load(weights: str) -> Any:
    """Load a YOLO that predicts with a CPU build of torch, too. ImportError where ultralytics is not installed."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    from ultralytics import YOLO

    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        _stand_in_for_torchvision()
    return YOLO(weights, task="detect")


def on_images(weights: str) -> Callable[[Any], Any]:
    """Return predict on one image (H, W, 3) BGR, in this process. ImportError where ultralytics is not installed."""
    model = load(weights)
    return lambda image: model.predict(image, **OPTIONS)


def _stand_in_for_torchvision() -> None:
    """Replace torchvision, which does not import beside a CPU build of torch; predict needs its NMS alone."""
    from ultralytics.utils.nms import TorchNMS

    torchvision, ops = ModuleType("torchvision"), ModuleType("torchvision.ops")
    torchvision.__dict__.update(ops=ops, __version__="0.0")
    ops.__dict__.update(nms=TorchNMS.nms)
    sys.modules.update({"torchvision": torchvision, "torchvision.ops": ops})


def _timed(weights: str, clip: str) -> list[float]:
    import cv2

    capture = cv2.VideoCapture(clip)
    images = [image for read, image in (capture.read() for _ in range(80)) if read]
    model = load(weights)
    times = []
    for number in range(TIMED + 50):
        started = time.perf_counter()
        model.predict(images[number % len(images)], **OPTIONS)
        times.append((time.perf_counter() - started) * 1000)
    return times[50:]


def main() -> None:
    """Print {xyxy, conf, cls} of each frame of a clip."""
    if sys.argv[1] == "--time":
        print(json.dumps(_timed(*sys.argv[2:])))
        return
    weights, clip, *count = sys.argv[1:]
    for number, result in enumerate(load(weights).predict(clip, stream=True, **OPTIONS), start=1):
        boxes = result.boxes
        found = {"xyxy": boxes.xyxy.tolist(), "conf": boxes.conf.tolist(), "cls": boxes.cls.tolist()}
        print(json.dumps(found), flush=True)
        if count and number == int(count[0]):
            break


if __name__ == "__main__":
    main()
