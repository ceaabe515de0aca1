"""The nouns: what they refuse at the border, and that nobody changes them afterwards."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from perception.core.detections import Candidates, Detections
from perception.core.frame import Frame
from perception.core.results import BackendInfo, StageTimes, Summary
from tests.doubles.fakes import make_image, make_report


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_a_frame_refuses_what_is_no_bgr_picture_and_names_what_it_got(image: Any) -> None:
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8, got \(.*\) (uint8|float32)"):
        Frame(image, 0, 0.0, "x")


@pytest.mark.parametrize("noun", [Detections, Candidates])
@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        (((3, 5), (3,), (3,)), "xyxy"),
        (((4,), (4,), (4,)), "xyxy"),
        (((3, 4), (2,), (3,)), "confidence"),
        (((3, 4), (3, 1), (3,)), "confidence"),
        (((3, 4), (3,), (4,)), "class_id"),
    ],
)
def test_arrays_that_disagree_are_refused_by_name(noun: Any, shapes: Any, named: str) -> None:
    boxes, confidence, class_id = shapes
    with pytest.raises(ValueError, match=f"{noun.__name__}.{named} must have shape"):
        noun(np.zeros(boxes, np.float32), np.zeros(confidence, np.float32), np.zeros(class_id, np.int64))


def test_no_detections_are_of_the_same_kind_as_some() -> None:
    none = Detections.empty()
    assert len(none) == 0
    assert [array.dtype.name for array in (none.xyxy, none.confidence, none.class_id)] == [
        "float32",
        "float32",
        "int64",
    ]


@pytest.mark.parametrize(
    ("noun", "attribute"),
    [
        (Frame(make_image(), 0, 0.0, "x"), "frame_id"),
        (Detections.empty(), "xyxy"),
        (make_report(), "dropped"),
        (make_report().result, "total_ms"),
        (StageTimes(1.0, 2.0, 3.0), "infer_ms"),
        (BackendInfo("fake", "fp32", (8, 8), 1, {}), "name"),
        (Summary(0, None, None, None, None, None, None, 0, 0.0), "frames"),
    ],
)
def test_the_nouns_cannot_be_changed(noun: object, attribute: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(noun, attribute, 1)


def test_a_stage_that_a_backend_cannot_tell_is_none() -> None:
    assert StageTimes() == StageTimes(None, None, None)


def test_only_the_demo_knows_the_truth() -> None:
    assert Frame(make_image(), 0, 0.0, "x").truth is None
