"""Loads a .pt file with ultralytics, which also runs beside a CPU build of torch."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any


def load(weights: str) -> Any:
    """Return a YOLO of ultralytics. Raises ImportError where it is not installed."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    from ultralytics import YOLO

    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        _stand_in_for_torchvision()
    return YOLO(weights, task="detect")


def _stand_in_for_torchvision() -> None:
    """Beside a CPU build of torch torchvision does not import; predict wants only its NMS, and ultralytics has one."""
    from ultralytics.utils.nms import TorchNMS

    torchvision, ops = ModuleType("torchvision"), ModuleType("torchvision.ops")
    torchvision.__dict__.update(ops=ops, __version__="0.0")
    ops.__dict__.update(nms=TorchNMS.nms)
    sys.modules.update({"torchvision": torchvision, "torchvision.ops": ops})
