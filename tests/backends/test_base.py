"""The seam: requests that fit a model, the order of the steps, and sessions that are closed where they cannot serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.backends.base import Request, request_of
from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.selection import STEPS, steps_of
from perception.backends.session_backend import SessionBackend, open_session_backend
from perception.core.errors import BackendError, SettingsError
from perception.core.frame import Frame
from perception.settings.model import EngineSettings, ModelSettings, Settings
from tests.doubles import tiny_model
from tests.doubles.fakes import make_image

COCO = {0: "person", 1: "bicycle", 2: "car", 5: "bus"}
ONNX, PT = Path("a.onnx"), Path("a.pt")


def names_of(settings: Settings, *weights: Path) -> list[str]:
    """The names of the steps that these settings allow, in order."""
    return [step.name for step in steps_of(settings, weights)]


def test_the_request_holds_thresholds_and_the_ids_of_the_vehicle_classes() -> None:
    assert request_of(Settings(), COCO) == Request(0.25, 0.7, (1, 2, 5))
    chosen = Settings(model=ModelSettings(conf=0.5, iou=0.45), classes=("bus",))
    assert request_of(chosen, COCO) == Request(0.5, 0.45, (5,))
    assert hash(request_of(chosen, COCO)) == hash(Request(0.5, 0.45, (5,))), "a launch is recorded for it"


def test_a_class_that_was_asked_for_is_a_fault_of_the_settings_and_none_at_all_one_of_the_model() -> None:
    with pytest.raises(SettingsError, match="no class 'tram'") as wrong:
        request_of(Settings(classes=("tram",)), COCO)
    assert wrong.value.exit_code == 2
    with pytest.raises(BackendError, match="no vehicle class") as nothing:
        request_of(Settings(), {0: "cat"})
    assert nothing.value.exit_code == 4


def test_an_engine_comes_first_and_the_weights_that_were_named_before_their_sibling() -> None:
    first = ["TensorRT", "PyTorch on CUDA"]
    assert names_of(Settings(), ONNX, PT) == [*first, "ONNX Runtime on the CPU", "PyTorch on the CPU"]
    assert names_of(Settings(), PT, ONNX) == [*first, "PyTorch on the CPU", "ONNX Runtime on the CPU"]
    assert names_of(Settings(), PT) == [*first, "PyTorch on the CPU"]
    assert names_of(Settings()) == first


def test_an_engine_that_is_required_leaves_no_other_step() -> None:
    for when_missing in ("fallback", "export"):
        engine = EngineSettings(require=True, when_missing=when_missing)
        assert names_of(Settings(engine=engine), ONNX, PT) == ["TensorRT"]


def test_an_export_is_a_step_where_it_is_asked_for() -> None:
    settings = Settings(engine=EngineSettings(when_missing="export"))
    assert names_of(settings, ONNX)[:2] == ["TensorRT", "TensorRT after an export"]
    assert len(names_of(settings, ONNX, PT)) == len(STEPS)


@pytest.mark.parametrize("names", [{0: "cat", 1: "dog"}, None])
def test_a_session_that_cannot_serve_is_closed(tmp_path: Path, names: dict[int, str] | None) -> None:
    session = OnnxRuntimeSession(tiny_model.build(tmp_path / "m.onnx", names=names, boxes=()), 64, 1)
    with pytest.raises(BackendError):
        open_session_backend(session, Settings())
    assert session._session is None


def test_other_classes_count_from_the_next_launch_on(tmp_path: Path) -> None:
    backend = SessionBackend(OnnxRuntimeSession(tiny_model.build(tmp_path / "m.onnx"), 64, 1))
    frames = [Frame(make_image(), 0, 0.0, "test")]
    for class_ids in ((2, 5), (0,), (2, 5)):
        (found,) = backend.detect(frames, Request(0.25, 0.7, class_ids))
        assert len(found.candidates) > 0
        assert set(np.unique(found.candidates.class_id)) <= set(class_ids)
    assert backend.detect([], Request(0.25, 0.7, (2,))) == []
    backend.__exit__()
