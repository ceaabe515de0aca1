"""Checkpoints: what they tell of themselves, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perception.backends.pytorch import PyTorchSession
from perception.core.errors import BackendError

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # torch's own
    pytest.mark.needs("torch"),
]


def checkpoint(path: Path, network: str = "yolov8n", **more: Any) -> Path:
    import torch
    from ultralytics import YOLO

    torch.save({"model": YOLO(f"{network}.yaml").model, "train_args": {"imgsz": 96}, **more}, path)
    return path


def test_it_runs_at_the_size_it_was_trained_at(tmp_path: Path, logged: list[str]) -> None:
    path = checkpoint(tmp_path / "m.pt")
    session = PyTorchSession(path, None, 1, "cpu")
    assert session.input_hw == (96, 96)
    assert (session.facts.task, session.facts.head, len(session.facts.names)) == ("detect", "Detect", 80)
    assert not logged
    assert PyTorchSession(path, 64, 1, "cpu").input_hw == (64, 64)
    assert any("was made for 96x96 and runs at 64x64" in line for line in logged if line.startswith("WARNING"))


@pytest.mark.parametrize("kind", ["module", "module of ultralytics", "tensor", "weights", "checkpoint of a module"])
def test_what_is_no_checkpoint_is_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    import torch
    from ultralytics import YOLO

    bare = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3))
    saved = {
        "module": bare, "module of ultralytics": YOLO("yolov8n.yaml").model, "tensor": torch.zeros(3),
        "weights": bare.state_dict(), "checkpoint of a module": {"model": bare},
    }[kind]  # fmt: skip
    torch.save(saved, tmp_path / "m.pt")
    with pytest.raises(BackendError) as caught:
        PyTorchSession(tmp_path / "m.pt", None, 1, "cpu")
    assert caught.value.exit_code == 4
    assert str(caught.value).isprintable()
    assert "Give a checkpoint as ultralytics saves it after training" in caught.value.cure


@pytest.mark.parametrize(("short", "task"), [("seg", "segment"), ("pose", "pose"), ("obb", "obb")])
def test_a_checkpoint_for_another_task_is_refused(tmp_path: Path, short: str, task: str) -> None:
    path = checkpoint(tmp_path / "m.pt", f"yolov8n-{short}")
    with pytest.raises(BackendError, match=f"is a model for '{task}', not for detection"):
        PyTorchSession(path, None, 1, "cpu")
