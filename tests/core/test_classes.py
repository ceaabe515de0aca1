"""The vehicle classes of a model."""

from __future__ import annotations

import pytest

from perception.core.classes import pick, vehicle_ids
from perception.core.errors import BackendError, SettingsError
from perception.settings.model import COCO_VEHICLES

COCO_START = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 4: "airplane", 5: "bus", 6: "train", 7: "truck"}


def test_the_ids_come_from_the_models_own_names() -> None:
    assert vehicle_ids(COCO_START, COCO_VEHICLES, asked_for=False) == (1, 2, 3, 5, 7)
    own = {4: "truck", 0: "bicycle", 9: "car", 2: "motorcycle", 3: "bus"}
    assert vehicle_ids(own, COCO_VEHICLES, asked_for=False) == (0, 2, 3, 4, 9)


def test_upper_and_lower_case_are_the_same() -> None:
    assert vehicle_ids({0: "Car", 1: "BUS"}, ("car", "Bus"), asked_for=True) == (0, 1)


def test_a_class_named_twice_counts_once() -> None:
    assert vehicle_ids(COCO_START, ("car", "Car", "car"), asked_for=True) == (2,)


def test_every_class_of_one_name_counts() -> None:
    assert vehicle_ids({0: "car", 1: "person", 2: "Car"}, ("car",), asked_for=True) == (0, 2)


def test_the_default_names_are_taken_as_far_as_the_model_has_them() -> None:
    assert vehicle_ids({0: "car", 1: "rider"}, COCO_VEHICLES, asked_for=False) == (0,)


def test_a_name_that_was_asked_for_and_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(SettingsError) as caught:
        vehicle_ids({0: "car", 1: "rider"}, ("car", "tram"), asked_for=True)
    assert str(caught.value) == "classes: the model has no class 'tram'. It has: car, rider."


def test_a_model_without_any_vehicle_is_refused() -> None:
    with pytest.raises(BackendError) as caught:
        vehicle_ids({0: "cat", 1: "dog"}, COCO_VEHICLES, asked_for=False)
    said = str(caught.value)
    assert "none of bicycle, car, motorcycle, bus, truck" in said
    assert "settings key `classes`; it has: cat, dog." in said


@pytest.mark.parametrize(
    ("own", "counts"),
    [
        (("motorbike", "lorry"), (0, 1)),
        (("Motor", "LORRY"), (0, 1)),
        (("motor-bike", "heavy truck"), (0,)),
        (("person", "bike", "automobile", "coach"), (1, 2, 3)),
        (("motorcycle", "motor"), (0,)),
    ],
    ids=["words", "capitals", "hyphens", "others", "the word itself first"],
)
def test_common_synonyms_count(own: tuple[str, ...], counts: tuple[int, ...]) -> None:
    assert vehicle_ids(dict(enumerate(own)), COCO_VEHICLES, asked_for=False) == counts


def test_a_synonym_that_was_asked_for_is_known_too() -> None:
    assert vehicle_ids(COCO_START, ("lorry", "motorbike"), asked_for=True) == (3, 7)


def test_what_counts_and_what_is_lacking_is_said() -> None:
    names = {0: "person", 1: "car", 2: "motorbike"}
    said = pick(names, COCO_VEHICLES).words(names)
    assert said == "Vehicles are car, motorbike (for motorcycle); the model has no bicycle, bus, truck"
    assert pick(COCO_START, ("car",)).words(COCO_START) == "Vehicles are car"


def test_a_long_list_of_names_is_cut_short() -> None:
    names = {number: f"thing{number}" for number in range(600)}
    with pytest.raises(SettingsError, match=r"thing19, \.\.\.") as caught:
        vehicle_ids(names, ("car",), asked_for=True)
    assert "thing20" not in str(caught.value)
