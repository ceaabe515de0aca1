"""The gate: what passes, what is refused, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy.gate import LEAST_SURE, Verdict, judge_labelled, judge_unlabelled
from perception.workshop.accuracy.labels import Labels
from perception.workshop.accuracy.model_run import ModelRun
from perception.workshop.accuracy.score import score
from perception.workshop.accuracy.unlabelled import score_unlabelled
from perception.workshop.export.options import CALIBRATORS
from tests.workshop.accuracy.scenes import CAR, TRUCK, blind, labels_of, seen

PICTURES = labels_of(100)
CONF = 0.25
Confidence = Callable[[int], float]


def labelled(
    candidate: ModelRun,
    reference: ModelRun | None = None,
    max_drop: float = 1.0,
    labels: list[Labels] = PICTURES,
    conf: float = CONF,
) -> Verdict:
    beside = score(reference or seen(labels), labels, COCO_VEHICLES, conf)
    return judge_labelled(beside, score(candidate, labels, COCO_VEHICLES, conf), max_drop)


def unlabelled(candidate: ModelRun, reference: ModelRun | None = None, max_drop: float = 1.0) -> Verdict:
    return judge_unlabelled(score_unlabelled(reference or seen(PICTURES), candidate, CONF), max_drop)


def int8(confidence: Confidence = lambda _: 0.8, shift_px: float = 0, pictures: list[Labels] = PICTURES) -> ModelRun:
    return seen(pictures, confidence, shift_px=shift_px, model="m.engine", precision="int8")


@pytest.mark.parametrize("judge", [labelled, unlabelled])
@pytest.mark.parametrize("confidence", [lambda _: 0.8, lambda n: 0.78 + 0.002 * (n % 3)], ids=["same", "rounded"])
def test_what_finds_the_same_passes(judge: Callable[[ModelRun], Verdict], confidence: Confidence) -> None:
    verdict = judge(int8(confidence))
    assert verdict.passed
    assert verdict.report["passed"] is True and verdict.report["faults"] == []
    assert len(verdict.lines) == 1


@pytest.mark.parametrize("judge", [labelled, unlabelled])
def test_what_finds_nothing_never_passes(judge: Callable[..., Verdict]) -> None:
    for max_drop in (1.0, 100.0):
        verdict = judge(blind(seen(PICTURES)), max_drop=max_drop)
        assert not verdict.passed
        assert any(line.startswith("It finds n") for line in verdict.lines)


@pytest.mark.parametrize("judge", [labelled, unlabelled])
def test_a_reference_that_finds_nothing_is_no_ground_to_pass_on(judge: Callable[..., Verdict]) -> None:
    nothing = blind(seen(PICTURES), "fp32")
    verdict = judge(int8(), reference=nothing)
    assert not verdict.passed
    assert any("reference" in line for line in verdict.report["faults"])
    assert not judge(blind(int8()), reference=nothing).passed


def test_boxes_that_are_off_cost_precision_and_are_refused() -> None:
    verdict = labelled(int8(shift_px=6))
    assert not verdict.passed
    (fault,) = verdict.report["faults"]
    assert fault.startswith("mAP50-95 falls by")
    assert "1 are allowed" in fault
    assert verdict.report["drop_points"]["recall"] == 0
    assert labelled(int8(shift_px=6), max_drop=90).passed


def test_vehicles_that_fall_below_the_threshold_are_missed_though_precision_holds() -> None:
    verdict = labelled(int8(lambda number: 0.8 if number % 10 else 0.2))
    assert not verdict.passed
    assert verdict.report["drop_points"]["map50_95"] == 0
    assert verdict.report["faults"][0] == (
        "Recall of all classes at 0.25 falls by 10.0 points, 4.2 are allowed (40 of 400 vehicles lost, 0 gained)"
    )


def test_a_single_vehicle_of_a_rare_class_is_chance() -> None:
    pictures = [*labels_of(100, [CAR, CAR, CAR]), *labels_of(17, [TRUCK])]

    def with_trucks_lost(lost: int) -> Verdict:
        candidate = int8(lambda number: 0.2 if number >= 317 - lost else 0.8, pictures=pictures)
        return labelled(candidate, labels=pictures)

    assert with_trucks_lost(1).passed
    assert with_trucks_lost(4).passed
    refused = with_trucks_lost(5)
    assert not refused.passed
    assert [fault.split(" at ")[0] for fault in refused.report["faults"]] == ["Recall of truck"]


def test_a_moved_threshold_is_suggested_and_named() -> None:
    shown, labels = labels_of(100, [CAR] * 4), labels_of(100, [CAR] * 3)  # every fourth is no labelled vehicle

    def confidence(number: int) -> float:
        return (0.2 if number % 4 == 3 else 0.4) + 0.0005 * (number % 300)

    candidate = int8(lambda number: confidence(number) - 0.15, pictures=shown)
    verdict = labelled(candidate, seen(shown, confidence), labels=labels, conf=0.39)
    assert not verdict.passed
    assert verdict.report["suggested_conf"] == pytest.approx(0.24, abs=0.03)
    assert any(line.startswith("Its confidences moved: model.conf 0.2") for line in verdict.lines)


def test_what_to_try_next_is_named_for_the_precision() -> None:
    advice = labelled(int8(shift_px=6)).lines[-1]
    assert all(word in advice for word in ("--precision fp16", *CALIBRATORS["qdq"]))
    assert "--precision fp32" in unlabelled(blind(seen(PICTURES), "fp16")).lines[-1]


def test_without_labels_some_sure_vehicles_may_be_missing_and_no_more() -> None:
    """1 % of 400 are 4, and twice its square root 4 more."""
    assert unlabelled(int8(lambda number: 0.8 if number >= 8 else 0.2)).passed
    verdict = unlabelled(int8(lambda number: 0.8 if number >= 9 else 0.2))
    assert not verdict.passed
    assert verdict.report["faults"] == ["It misses 9 sure vehicles, 8 of 400 are allowed"]


def test_without_labels_doubtful_vehicles_are_not_asked_for() -> None:
    reference = seen(PICTURES, lambda number: 0.8 if number % 4 else 0.3)
    verdict = unlabelled(int8(lambda number: 0.8 if number % 4 else 0), reference)
    assert verdict.passed
    assert verdict.report["candidate"]["by_class"]["car"]["recall"] == pytest.approx(2 / 3, abs=1e-4)


def test_without_labels_what_is_invented_counts_as_well() -> None:
    reference = seen(PICTURES, lambda number: 0.8 if number >= 40 else 0)
    verdict = unlabelled(int8(), reference)
    assert not verdict.passed
    assert verdict.report["faults"] == ["It adds 40 sure vehicles, 7 of 360 are allowed"]


def test_without_labels_too_few_vehicles_are_no_ground_to_judge_on() -> None:
    few = labels_of(LEAST_SURE - 1, [CAR])
    verdict = judge_unlabelled(score_unlabelled(seen(few), int8(pictures=few), CONF), 1.0)
    assert not verdict.passed
    assert "give pictures with more vehicles, or labels" in verdict.lines[1]


def test_fp16_may_pass_on_a_few_vehicles_but_not_on_none() -> None:
    few = labels_of(5, [CAR])
    fp16 = seen(few, precision="fp16")
    verdict = judge_unlabelled(score_unlabelled(seen(few), fp16, CONF), 1.0)
    assert verdict.passed
    assert verdict.lines[-1] == "5 vehicles are little to judge by: a small loss would not show"
    assert not judge_unlabelled(score_unlabelled(seen(few), blind(fp16, "fp16"), CONF), 1.0).passed
    assert not judge_unlabelled(score_unlabelled(blind(fp16), blind(fp16, "fp16"), CONF), 1.0).passed


@pytest.mark.parametrize("judge", [labelled, unlabelled])
def test_the_report_is_plain_json(judge: Callable[..., Verdict]) -> None:
    for candidate in (int8(), blind(int8())):
        report = judge(candidate).report
        assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_looks_at_other_pictures_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="not of the same pictures"):
        score_unlabelled(seen(PICTURES), seen(PICTURES[:5]), CONF)
