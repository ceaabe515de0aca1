"""Average precision by faster-coco-eval, recall at a threshold, and the threshold of best F1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perception.core.detections import Detections
from perception.core.errors import SettingsError
from perception.lab.training.scoring import average_precision
from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy.coco import average_precisions
from perception.workshop.accuracy.labels import Labels
from perception.workshop.accuracy.score import score
from perception.workshop.accuracy.threshold import GRID, F1Curve, suggested
from tests.workshop.accuracy.scenes import BICYCLE, CAR, SIZE, TRUCK, labels_of, seen


def random_scene(seed: int, pictures: int = 30) -> tuple[list[Detections], list[Labels]]:
    """Vehicles in random places, found with boxes a little off, with some missed and some invented."""
    chance = np.random.default_rng(seed)
    found, real = [], []
    for _ in range(pictures):
        count = int(chance.integers(1, 6))
        corner = chance.uniform(0, 380, (count, 2))
        boxes = np.concatenate([corner, corner + chance.uniform(20, 90, (count, 2))], 1)
        classes = chance.integers(0, 3, count)
        keep = chance.random(count) < 0.8
        extra = chance.uniform(0, 380, (2, 2))
        all_boxes = np.concatenate([boxes[keep] + chance.normal(0, 4, (keep.sum(), 4)), np.hstack([extra, extra + 50])])
        scores = chance.uniform(0.01, 0.99, len(all_boxes))
        order = np.argsort(-scores)
        ids = np.concatenate([classes[keep], chance.integers(0, 3, 2)])
        found.append(
            Detections(
                all_boxes[order].astype(np.float32), scores[order].astype(np.float32), ids[order].astype(np.int64)
            )
        )
        real.append(Labels.of(boxes, classes))
    return found, real


def test_a_model_that_finds_all_and_nothing_else_is_perfect() -> None:
    labels = labels_of(6)
    found = average_precisions(seen(labels).found, labels, [SIZE] * 6)
    assert {number: (one.ap50, one.ap50_95) for number, one in found.items()} == {CAR: (1, 1), TRUCK: (1, 1)}


def test_a_class_of_which_nothing_was_found_has_no_precision() -> None:
    labels = labels_of(6)
    nothing = [Detections.empty()] * 6
    assert [one.ap50_95 for one in average_precisions(nothing, labels, [SIZE] * 6).values()] == [0, 0]
    assert average_precisions(nothing, [Labels.of([], [])] * 6, [SIZE] * 6) == {}


def test_the_first_class_and_the_first_label_count_like_every_other() -> None:
    """COCO's arithmetic takes an id of 0 for none in places."""
    labels = labels_of(1, [BICYCLE])
    assert average_precisions(seen(labels).found, labels, [SIZE])[BICYCLE].ap50 == 1


def test_half_of_the_vehicles_found_is_half_of_the_precision() -> None:
    labels = labels_of(50, [CAR, CAR])
    found = average_precisions(seen(labels, lambda number: 0.8 * (number % 2)).found, labels, [SIZE] * 50)
    assert found[CAR].ap50 == pytest.approx(0.5, abs=0.01)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_ultralytics_arithmetic(seed: int) -> None:
    found, real = random_scene(seed)
    ours = average_precisions(found, real, [SIZE] * len(found))
    theirs = average_precision(found, real).by_class
    for number, one in ours.items():  # they read the curve at other points, and interpolate between
        assert (one.ap50, one.ap50_95) == pytest.approx(theirs[number], abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_that_of_faster_coco_eval(seed: int) -> None:
    found, real = random_scene(seed)
    run = replace(seen(real), found=tuple(found))
    conf = 0.4
    ours = score(run, real, COCO_VEHICLES, conf)
    for place, name in enumerate(COCO_VEHICLES[:3]):
        assert ours.recall_of(name) == pytest.approx(_recall_by_coco(found, real, place, conf))


def _recall_by_coco(found: list[Detections], real: list[Labels], number: int, conf: float) -> float:
    from faster_coco_eval import COCO, COCOeval_faster

    from perception.workshop.accuracy.coco import _data_set, _results
    from perception.workshop.accuracy.matching import above

    truth = COCO(_data_set(real, [SIZE] * len(real), [number]))
    truth.dataset["annotations"] = [one for one in truth.dataset["annotations"] if one["category_id"] == number + 1]
    truth.createIndex()
    results = truth.loadRes(_results([above(one, conf) for one in found], [number]))
    evaluation = COCOeval_faster(truth, results, "bbox", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    return float(evaluation.eval["recall"][0, 0, 0, -1])


def test_recall_and_what_is_extra_are_counted_above_the_threshold() -> None:
    labels = labels_of(10)
    run = seen(labels, lambda number: 0.5 if number % 4 else 0.25)
    found = score(run, labels, COCO_VEHICLES, 0.25)
    assert found.recall == 0.75
    assert found.recall_of("car") == pytest.approx(2 / 3)
    assert (found.recall_of("truck"), found.extra) == (1.0, 0)
    assert score(seen(labels, shift_px=55), labels, COCO_VEHICLES, 0.25).extra == 40


def test_classes_that_are_not_judged_or_not_labelled_are_left_out() -> None:
    labels = labels_of(5)
    only_cars = score(seen(labels), labels, ["car", "bus"], 0.25)
    assert (only_cars.classes, len(only_cars.label_class), only_cars.map50) == (("car",), 15, 1.0)
    with pytest.raises(SettingsError, match="None of the labels is a bus"):
        score(seen(labels), labels, ["bus"], 0.25)


def test_a_class_that_the_model_lacks_counts_as_not_found() -> None:
    labels = labels_of(5)
    run = seen(labels, lambda number: 0.8 if number % 4 < 3 else 0, known=["car"])
    found = score(run, labels, COCO_VEHICLES, 0.25)
    assert (found.missing, found.map50) == (("truck",), 0.5)


def test_the_values_for_json_name_every_figure() -> None:
    labels = labels_of(5)
    values = score(seen(labels), labels, COCO_VEHICLES, 0.25).to_values()
    assert values["by_class"]["truck"] == {"labels": 5, "ap50_95": 1.0, "ap50": 1.0, "recall": 1.0}
    assert (values["map50_95"], values["recall"], values["extra"]) == (1.0, 1.0, 0)


# The threshold


def curve(middle: float, seed: int = 0) -> F1Curve:
    """Of a detector whose hits lie above and whose mistakes below a confidence, with some overlap."""
    chance = np.random.default_rng(seed)
    hits, wrong = chance.normal(middle + 0.2, 0.1, 500), chance.normal(middle - 0.2, 0.1, 500)
    confidence = np.clip(np.concatenate([hits, wrong]), 0.001, 0.999)
    return F1Curve.of(confidence, np.arange(1000) < 500, 600)


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.3], np.float32)
    one = F1Curve.of(confidence, np.array([True, True, False, True]), 5)
    assert (one.at(0.1), one.at(0.5), one.at(0.85)) == pytest.approx((6 / 9, 4 / 8, 2 / 6))
    assert one.at(0.95) == 0


@pytest.mark.parametrize("middle", [0.3, 0.5, 0.6])
def test_the_best_threshold_lies_between_hits_and_mistakes(middle: float) -> None:
    assert curve(middle).best == pytest.approx(middle, abs=0.04)


def test_a_threshold_that_moved_is_suggested() -> None:
    assert suggested(curve(0.5), curve(0.35), 0.5) == pytest.approx(0.35, abs=0.03)
    assert suggested(curve(0.35), curve(0.5), 0.35) == pytest.approx(0.5, abs=0.03)


def test_a_threshold_that_did_not_move_or_gains_nothing_is_not() -> None:
    assert suggested(curve(0.5), curve(0.5, seed=1), 0.5) is None
    flat = F1Curve(np.zeros(len(GRID)))
    assert suggested(curve(0.5), flat, 0.5) is None
