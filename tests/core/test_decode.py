"""Decoding of both kinds of head, and NMS: properties, a slow reference, and ultralytics' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import perception.core.nms as suppression
from perception.core.decode import decode
from perception.core.detections import Candidates, Detections
from perception.core.layouts import LAYOUTS, MAX_DETECTIONS
from perception.core.nms import MAX_CANDIDATES, nms
from tests.doubles.fakes import make_candidates

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RAW, END_TO_END = LAYOUTS["raw"], LAYOUTS["end_to_end"]
FAR = (10_000, 10_000)
"""An image so large that nothing is clipped."""

Floats = npt.NDArray[np.floating[Any]]


def raw_head(*rows: tuple[float, float, float, float, dict[int, float]], classes: int = 8) -> npt.NDArray[np.float32]:
    """A raw head (4 + classes, n) from rows of centre x, centre y, width, height and scores by class."""
    head = np.zeros((4 + classes, len(rows)), np.float32)
    for column, (*box, scores) in enumerate(rows):
        head[:4, column] = box
        for class_id, score in scores.items():
            head[4 + class_id, column] = score
    return head


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """IoU of two boxes in plain Python."""
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def slow_nms(found: Candidates, iou: float) -> list[int]:
    """Indices that greedy NMS by class keeps, best first: the textbook, one pair at a time."""
    boxes = found.xyxy.astype(float).tolist()
    kept: list[int] = []
    for index in sorted(range(len(found)), key=lambda index: -found.confidence[index]):
        rivals = [other for other in kept if found.class_id[other] == found.class_id[index]]
        if all(overlap(boxes[index], boxes[other]) <= iou for other in rivals):
            kept.append(index)
    return kept[:MAX_DETECTIONS]


@st.composite
def crowds(draw: st.DrawFn) -> Candidates:
    """Boxes on a coarse grid, so that many overlap and every area is exact; confidences that all differ."""
    corner = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2, st.sampled_from([1, 2, 5]))
    rows = draw(st.lists(corner, max_size=24))
    order = draw(st.permutations(range(len(rows))))
    return make_candidates(
        *(
            (x * 4, y * 4, (x + w) * 4, (y + h) * 4, (rank + 1) / 32, kind)
            for (x, y, w, h, kind), rank in zip(rows, order)
        )
    )


# An overlap that no two boxes of the grid have exactly, so that rounding decides nothing.
THRESHOLDS = st.sampled_from([0.0001, 0.2501, 0.4501, 0.7001, 0.9001])


@QUICK
@given(found=crowds(), iou=THRESHOLDS)
def test_nms_equals_a_plain_slow_one(found: Candidates, iou: float) -> None:
    kept = slow_nms(found, iou)
    result = nms(found, iou, FAR)
    np.testing.assert_array_equal(result.xyxy, found.xyxy[kept])
    np.testing.assert_array_equal(result.confidence, found.confidence[kept])
    np.testing.assert_array_equal(result.class_id, found.class_id[kept])


@QUICK
@given(found=crowds(), iou=THRESHOLDS)
def test_no_two_kept_boxes_of_a_class_overlap_above_the_threshold(found: Candidates, iou: float) -> None:
    result = nms(found, iou, FAR)
    for first in range(len(result)):
        for second in range(first):
            if result.class_id[first] == result.class_id[second]:
                assert overlap(result.xyxy[first].tolist(), result.xyxy[second].tolist()) <= iou + 1e-6


@QUICK
@given(found=crowds(), iou=THRESHOLDS)
def test_every_dropped_box_overlaps_a_better_kept_one_of_its_class(found: Candidates, iou: float) -> None:
    result = nms(found, iou, FAR)
    kept = set(result.confidence.tolist())
    for index in (index for index in range(len(found)) if float(found.confidence[index]) not in kept):
        assert any(
            result.class_id[other] == found.class_id[index]
            and result.confidence[other] > found.confidence[index]
            and overlap(result.xyxy[other].tolist(), found.xyxy[index].tolist()) > iou - 1e-6
            for other in range(len(result))
        )


@QUICK
@given(found=crowds(), iou=THRESHOLDS)
def test_the_best_comes_first(found: Candidates, iou: float) -> None:
    confidence = nms(found, iou, FAR).confidence
    assert (np.diff(confidence) < 0).all()


def test_boxes_of_different_classes_leave_each_other_alone() -> None:
    found = make_candidates((0, 0, 10, 10, 0.9, 2), (0, 0, 10, 10, 0.8, 7), (0, 0, 10, 10, 0.7, 2))
    assert nms(found, 0.5, FAR).class_id.tolist() == [2, 7]


def test_an_overlap_of_exactly_the_threshold_is_kept() -> None:
    found = make_candidates((0, 0, 10, 10, 0.9, 2), (0, 5, 10, 15, 0.8, 2), (0, 4, 10, 14, 0.7, 2))
    assert nms(found, 50 / 150, FAR).confidence.tolist() == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize("count", [0, 1, 2, 70])
def test_final_candidates_keep_their_overlaps_and_are_clipped(count: int) -> None:
    found = make_candidates(*[(-1, 0, 10, 10, 0.9 - index / 100, 2) for index in range(count)], final=True)
    result = nms(found, 0.5, (7, 9))
    assert result.xyxy.tolist() == [[0, 0, 9, 7]] * count
    assert result.confidence.tolist() == found.confidence.tolist()
    assert found.xyxy.tolist() == [[-1, 0, 10, 10]] * count, "the candidates are as they were"


@pytest.mark.parametrize("head", ["raw", "end2end"])
def test_at_most_300_are_kept_the_best_of_them(head: str) -> None:
    rows = [(index * 20.0, 0.0, index * 20.0 + 10, 10.0, (index + 1) / 500, 2) for index in range(400)]
    found = make_candidates(*rows) if head == "raw" else decode(np.array(rows, np.float32), END_TO_END, 0.0, [2])
    assert found.final == (head == "end2end")
    result = nms(found, 0.5, FAR)
    assert len(result) == MAX_DETECTIONS == 300
    assert result.confidence[0] == pytest.approx(400 / 500)
    assert result.confidence[-1] == pytest.approx(101 / 500)


def test_of_too_many_candidates_the_best_count() -> None:
    """ultralytics' max_nms: 30,000. The boxes of the other class would stay."""
    count = MAX_CANDIDATES + 5
    confidence: npt.NDArray[Any] = np.linspace(1, 0.5, count, dtype=np.float32)
    box = np.tile(np.array([[0, 0, 10, 10]], np.float32), (count, 1))
    class_id = np.where(np.arange(count) < MAX_CANDIDATES, 2, 5)
    assert nms(Candidates(box, confidence, class_id), 0.5, FAR).class_id.tolist() == [2]
    class_id[MAX_CANDIDATES - 1] = 7
    shuffled = np.random.default_rng(0).permutation(count)
    found = nms(Candidates(box[shuffled], confidence[shuffled], class_id[shuffled]), 0.5, FAR)
    assert found.class_id.tolist() == [2, 7]


@pytest.mark.parametrize("spread", [2, 60, 4000])
@pytest.mark.parametrize("count", [65, 129, 500, 1500])
def test_a_crowd_of_any_size_is_suppressed_as_by_a_plain_slow_one(count: int, spread: int) -> None:
    random = np.random.default_rng(count + spread)
    corner = random.integers(0, spread, (count, 2)) * 4
    boxes = np.concatenate([corner, corner + random.integers(1, 9, (count, 2)) * 4], axis=1).astype(np.float32)
    confidence = (random.permutation(count) / count).astype(np.float32)
    found = Candidates(boxes, confidence, random.choice([2, 5, 7], count))
    kept = slow_nms(found, 0.4501)
    np.testing.assert_array_equal(nms(found, 0.4501, (10**6, 10**6)).confidence, confidence[kept])


def test_no_candidate_is_compared_with_more_than_those_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds the time between two heartbeats: 30,000 candidates, 300 that stay, and each block with itself."""
    pairs = []
    real = suppression._rivals

    def counted(sides: Any, class_id: Any, ones: Any, others: Any, iou: float) -> Any:
        pairs.append(len(ones) * len(others))
        return real(sides, class_id, ones, others, iou)

    monkeypatch.setattr(suppression, "_rivals", counted)
    left = np.minimum(np.arange(100_000), 298) * 20.0  # 299 that stay, and the last of them again and again
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1).astype(np.float32)
    found = Candidates(boxes, np.linspace(1, 0.5, len(left), dtype=np.float32), np.full(len(left), 2))
    assert len(nms(found, 0.7, (10**6, 10**6))) == 299
    assert sum(pairs) <= MAX_CANDIDATES * (MAX_DETECTIONS + suppression.BLOCK)
    pairs.clear()
    apart = np.arange(33_600) * 20.0
    boxes = np.stack([apart, apart * 0, apart + 10, apart * 0 + 10], axis=1).astype(np.float32)
    found = Candidates(boxes, np.linspace(1, 0.5, len(apart), dtype=np.float32), np.full(len(apart), 2))
    assert len(nms(found, 0.7, (10**6, 10**6))) == MAX_DETECTIONS
    assert sum(pairs) <= 3 * suppression.BLOCK * (MAX_DETECTIONS + suppression.BLOCK), "it ends with the 300th"


def test_boxes_are_clipped_to_the_image() -> None:
    found = make_candidates((-5, -6, 70, 50, 0.9, 2), (60, 40, 64, 48, 0.8, 2))
    assert nms(found, 0.7, (48, 64)).xyxy.tolist() == [[0, 0, 64, 48], [60, 40, 64, 48]]


def test_overlap_is_judged_before_clipping() -> None:
    found = make_candidates((0, 0, 64, 48, 0.9, 2), (0, 0, 640, 480, 0.8, 2))
    assert len(nms(found, 0.5, (48, 64))) == 2


def test_nothing_in_gives_nothing_out() -> None:
    assert len(nms(make_candidates(), 0.7, FAR)) == 0
    assert len(decode(np.zeros((12, 0), np.float32), RAW, 0.25, [2])) == 0
    assert len(decode(np.zeros((12, 5), np.float32), RAW, 0.25, [2])) == 0


def test_a_raw_head_is_decoded_from_centres_to_corners() -> None:
    found = decode(raw_head((16, 24, 16, 8, {2: 0.875}), (46, 28, 28, 24, {5: 0.5})), RAW, 0.25, [1, 2, 3, 5, 7])
    assert found.xyxy.tolist() == [[8, 20, 24, 28], [32, 16, 60, 40]]
    assert found.confidence.tolist() == [0.875, 0.5]
    assert found.class_id.tolist() == [2, 5]
    assert not found.final


def test_the_best_class_decides_what_a_box_is_and_a_person_is_no_vehicle() -> None:
    head = raw_head((10, 10, 4, 4, {0: 0.6, 2: 0.5}), (20, 20, 4, 4, {0: 0.4, 2: 0.5, 7: 0.45}))
    found = decode(head, RAW, 0.25, [1, 2, 3, 5, 7])
    assert found.class_id.tolist() == [2]
    assert found.xyxy.tolist() == [[18, 18, 22, 22]]


def test_the_threshold_itself_does_not_pass() -> None:
    head = raw_head((10, 10, 4, 4, {2: 0.25}), (20, 20, 4, 4, {2: 0.2500001}))
    assert len(decode(head, RAW, 0.25, [2])) == 1
    rows = np.array([[0, 0, 4, 4, 0.25, 2], [0, 0, 4, 4, 0.2500001, 2]], np.float32)
    assert len(decode(rows, END_TO_END, 0.25, [2])) == 1


def test_an_end_to_end_head_is_put_in_order_and_keeps_its_overlaps() -> None:
    boxes = (32, 16, 60, 40, 0.5, 5), (0, 0, 4, 4, 0.9, 0), (8, 16, 24, 32, 0.875, 2), (0, 0, 1, 1, 0.1, 2)
    rows = np.array([*boxes, (32, 16, 61, 40, 0.5, 5)], np.float32)
    found = decode(rows, END_TO_END, 0.25, [1, 2, 3, 5, 7])
    assert found.final
    assert found.xyxy.tolist() == [[8, 16, 24, 32], [32, 16, 60, 40], [32, 16, 61, 40]]
    assert found.class_id.tolist() == [2, 5, 5]


def test_broken_boxes_take_no_place_of_sound_ones() -> None:
    rows = np.array([[0, 0, 10, 10, 1 - index / 500, 2] for index in range(MAX_DETECTIONS + 20)], np.float32)
    rows[:5, 0] = np.nan
    found = decode(rows, END_TO_END, 0.25, [2])
    assert len(found) == MAX_DETECTIONS
    assert found.confidence[0] == rows[5, 4]


@pytest.mark.parametrize("head", ["raw", "end2end"])
def test_float16_heads_give_the_same_as_float32_ones(head: str) -> None:
    rows = raw_head((16, 24, 16, 8, {2: 0.875})) if head == "raw" else np.array([[8, 20, 24, 28, 0.875, 2]], np.float32)
    found = decode(rows.astype(np.float16), RAW if head == "raw" else END_TO_END, 0.25, [2])
    assert found.xyxy.tolist() == [[8, 20, 24, 28]]
    assert [array.dtype.name for array in (found.xyxy, found.confidence, found.class_id)] == [
        "float32",
        "float32",
        "int64",
    ]


EXTREMES = [np.nan, np.inf, -np.inf, *(float(np.float32(value)) for value in (3.4e38, -3.4e38, 1e-45, 0.5))]
ANY_FLOAT = st.one_of(st.floats(width=32), st.sampled_from(EXTREMES))


def sound(result: Detections, image_hw: tuple[int, int]) -> bool:
    """Whether every number can be shown to a user."""
    inside = (result.xyxy >= 0) & (result.xyxy <= [image_hw[1], image_hw[0]] * 2)
    return bool(np.isfinite(result.confidence).all() and inside.all())


@QUICK
@given(head=hnp.arrays(np.float32, st.tuples(st.just(12), st.integers(0, 9)), elements=ANY_FLOAT))
def test_no_broken_number_comes_out_of_a_raw_head(head: npt.NDArray[np.float32]) -> None:
    assert sound(nms(decode(head, RAW, 0.25, [1, 2, 3, 5, 7]), 0.7, (48, 64)), (48, 64))


@QUICK
@given(head=hnp.arrays(np.float32, st.tuples(st.integers(0, 9), st.just(6)), elements=ANY_FLOAT))
def test_no_broken_number_comes_out_of_an_end_to_end_head(head: npt.NDArray[np.float32]) -> None:
    assert sound(nms(decode(head, END_TO_END, 0.25, [0, 1, 2, 3, 5, 7]), 0.7, (48, 64)), (48, 64))


def test_a_broken_box_does_not_take_its_sound_neighbours_along() -> None:
    head = raw_head((16, 24, 16, 8, {2: 0.875}), (np.nan, 24, 16, 8, {2: 0.9}), (16, 24, np.inf, 8, {2: 0.9}))
    head = np.concatenate([head, raw_head((40, 40, 4, 4, {2: np.nan}), (40, 40, 4, 4, {2: np.inf}))], axis=1)
    assert nms(decode(head, RAW, 0.25, [2]), 0.7, FAR).xyxy.tolist() == [[8, 20, 24, 28]]


def random_head(seed: int, boxes: int, classes: int) -> npt.NDArray[np.float32]:
    """A crowded head on a grid of 4 px, so that offsets by class round nothing; scores that all differ."""
    rng = np.random.default_rng(seed)
    head = np.zeros((4 + classes, boxes), np.float32)
    head[:2] = rng.integers(8, 24, (2, boxes)) * 4
    head[2:4] = rng.integers(1, 8, (2, boxes)) * 8
    head[4:] = rng.permutation(classes * boxes).reshape(classes, boxes) / (classes * boxes)
    head[4:] *= rng.random((classes, boxes)) < 0.2
    return head


@pytest.mark.needs("torch")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("conf", "iou"), [(0.25, 0.7001), (0.001, 0.4501), (0.6, 0.1001)])
def test_a_raw_head_gives_what_ultralytics_gives(seed: int, conf: float, iou: float) -> None:
    import torch
    from ultralytics.utils.nms import non_max_suppression

    vehicles = [1, 2, 3, 5, 7]
    head = random_head(seed, 150, 8)
    ours = nms(decode(head, RAW, conf, vehicles), iou, FAR)
    theirs = non_max_suppression(torch.from_numpy(head)[None], conf, iou, classes=vehicles, nc=8)[0].numpy()
    assert len(ours) > 5
    np.testing.assert_array_equal(ours.class_id, theirs[:, 5])
    np.testing.assert_array_equal(ours.confidence, theirs[:, 4])
    np.testing.assert_array_equal(ours.xyxy, theirs[:, :4])


@pytest.mark.needs("torch")
@pytest.mark.parametrize("seed", range(4))
def test_an_end_to_end_head_gives_what_ultralytics_gives(seed: int) -> None:
    import torch
    from ultralytics.utils.nms import non_max_suppression

    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.random((300, 4)) * 64, rng.random((300, 1)), rng.integers(0, 8, (300, 1))], axis=1)
    head = rows[np.argsort(-rows[:, 4])].astype(np.float32)
    ours = nms(decode(head, END_TO_END, 0.25, [1, 2, 3, 5, 7]), 0.7, FAR)
    theirs = non_max_suppression(torch.from_numpy(head)[None], 0.25, classes=[1, 2, 3, 5, 7], end2end=True)[0].numpy()
    np.testing.assert_array_equal(ours.xyxy, theirs[:, :4])
    np.testing.assert_array_equal(ours.confidence, theirs[:, 4])
