#!/usr/bin/env python3
"""Shows vehicles detected on this machine: runs the pilot over a clip of PILOT_DATA and writes demo.mp4."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Replaces this process with the pilot's; 2 where there is nothing to run on."""
    folder = Path(os.environ.get("PILOT_DATA", ""))
    clip, model = folder / "clips" / "dashcam_a_720p.mp4", folder / "weights" / "yolov8n.onnx"
    if not os.environ.get("PILOT_DATA") or not (clip.exists() and model.exists()):
        sys.stderr.write(
            "The demo needs footage and weights: set PILOT_DATA to a folder that holds\n"
            "  clips/dashcam_a_720p.mp4   a clip of the road\n"
            "  weights/yolov8n.onnx       made by: yolo export model=yolov8n.pt format=onnx\n"
            "or run your own: .venv/bin/python pilot.py --allow-cpu --source CLIP.mp4 --model MODEL.onnx\n"
        )
        return 2
    command = ["--source", str(clip), "--model", str(model), "--allow-cpu", "--record", "demo.mp4"]
    os.execv(sys.executable, [sys.executable, str(ROOT / "pilot.py"), *command])  # noqa: S606 - our own program
    raise AssertionError("execv does not return")


if __name__ == "__main__":
    sys.exit(main())
