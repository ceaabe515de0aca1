"""The agreement of two detectors, and when a benchmark refuses to measure one of them."""

from __future__ import annotations

import numpy as np
import pytest

from perception.core.detections import Detections
from perception.core.errors import BackendError
from perception.lab.benchmark.engine.commands import LEAST_IOU_OF_HALF, refuse_disagreement
from perception.workshop.quantize.agreement import agreement

REFERENCE = [(10, 10, 60, 60, 0.9, 2), (100, 10, 180, 90, 0.5, 2), (10, 100, 60, 160, 0.7, 5)]


def detections(*boxes: tuple[float, ...]) -> Detections:
    values = np.array(boxes, np.float32).reshape(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))


def shifted(box: tuple[float, ...], pixels: float = 0, confidence: float = 0, class_id: int = 0) -> tuple[float, ...]:
    left, top, right, bottom, score, number = box
    return left + pixels, top, right + pixels, bottom, score + confidence, number + class_id


def test_the_same_vehicles_agree_in_everything() -> None:
    found = agreement([(detections(*REFERENCE), detections(*REFERENCE[::-1]))] * 3)
    assert (found.frames, found.vehicles, found.same_count, found.share_matched) == (3, 9, 1.0, 1.0)
    assert found.share_of_iou(0.999) == found.share_of_confidence(0.001) == 1.0
    refuse_disagreement(found)


def test_pictures_without_vehicles_agree_and_prove_nothing() -> None:
    found = agreement([(detections(), detections())])
    assert (found.same_count, found.share_matched, found.share_of_iou(0.97)) == (1.0, 1.0, 1.0)
    with pytest.raises(BackendError, match="0 vehicles"):
        refuse_disagreement(found)


@pytest.mark.parametrize(
    "change", [{"pixels": 500}, {"class_id": 1}, {"pixels": 40}], ids=["elsewhere", "another class", "too far"]
)
def test_where_none_is_matched_no_share_is_good(change: dict[str, int]) -> None:
    found = agreement([(detections(*REFERENCE), detections(*(shifted(box, **change) for box in REFERENCE)))])
    assert found.same_count == 1.0
    assert found.share_matched == found.share_of_iou(0.5) == found.share_of_confidence(1.0) == 0.0
    with pytest.raises(BackendError, match=r"3 vehicles, 0\.00% matched"):
        refuse_disagreement(found)


def test_a_vehicle_has_one_partner() -> None:
    twice = detections(REFERENCE[0], shifted(REFERENCE[0], 1))
    found = agreement([(twice, detections(REFERENCE[0]))])
    assert (found.vehicles, found.share_matched, found.ious) == (2, 0.5, (1.0,))


@pytest.mark.parametrize(
    ("spoiled", "refused"), [(1, False), (3, True)], ids=["one of a hundred", "three of a hundred"]
)
@pytest.mark.parametrize(
    "change",
    [{"pixels": 500}, {"pixels": 2}, {"confidence": 0.03}, None],
    ids=["unmatched", "overlap", "confidence", "count"],
)
def test_a_benchmark_refuses_what_disagrees_too_often(
    change: dict[str, float] | None, spoiled: int, refused: bool
) -> None:
    reference = detections(REFERENCE[0])
    other = detections() if change is None else detections(shifted(REFERENCE[0], **change))  # type: ignore[arg-type]
    found = agreement([(reference, other)] * spoiled + [(reference, reference)] * (100 - spoiled))
    if refused:
        with pytest.raises(BackendError, match="does not agree with the reference"):
            refuse_disagreement(found)
    else:
        refuse_disagreement(found)


def test_coarser_tensors_may_be_allowed_a_little_more() -> None:
    found = agreement([(detections(REFERENCE[0]), detections(shifted(REFERENCE[0], 1)))])
    assert 0.95 < found.ious[0] < 0.97
    with pytest.raises(BackendError):
        refuse_disagreement(found)
    refuse_disagreement(found, LEAST_IOU_OF_HALF)
