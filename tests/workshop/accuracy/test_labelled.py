"""Data sets with labels: where the labels lie, classes by name, and what is wrong with a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perception.config import COCO_VEHICLES
from perception.errors import SettingsError
from perception.workshop.accuracy.check import find_pictures
from perception.workshop.accuracy.labelled import label_of, read_labelled
from tests.workshop.accuracy.folders import write_set


def test_pictures_and_labels_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    found = read_labelled(write_set(tmp_path, {"b": ["1 0.5 0.5 0.5 0.5"], "a": ["4 0.25 0.5 0.5 1"]}))
    assert found is not None
    assert [path.stem for path in found.images] == ["a", "b"]
    one, two = found.labels([(100, 200), (100, 200)])
    assert (one.xyxy.tolist(), one.class_id.tolist()) == ([[0, 0, 100, 100]], [COCO_VEHICLES.index("truck")])
    assert (two.xyxy.tolist(), two.class_id.tolist()) == ([[50, 25, 150, 75]], [COCO_VEHICLES.index("car")])


def test_classes_are_found_by_name_and_others_left_out(tmp_path: Path) -> None:
    """As COCO numbers them, the car is 2; a person is no vehicle."""
    names = "{0: person, 2: Car, 7: truck}"
    data = write_set(tmp_path, {"a": ["2 0.5 0.5 0.5 0.5", "0 0.5 0.5 0.1 0.1", "7 0.5 0.5 0.2 0.2"]}, names)
    found = read_labelled(data)
    assert found is not None
    (labels,) = found.labels([(100, 200)])
    assert [COCO_VEHICLES[number] for number in labels.class_id] == ["car", "truck"]
    assert found.unlabelled_classes == ("bicycle", "motorcycle", "bus")


def test_the_folder_of_images_alone_is_replaced() -> None:
    assert label_of(Path("/data/images/val/carla_images_1.jpg")) == Path("/data/labels/val/carla_images_1.txt")
    assert label_of(Path("/images/set/images/a.png")) == Path("/images/set/labels/a.txt")
    assert label_of(Path("/data/val/a.png")) == Path("/data/val/a.txt")


def test_a_set_without_a_label_file_is_no_labelled_one(tmp_path: Path) -> None:
    data = write_set(tmp_path, {"a": None, "b": None})
    assert read_labelled(data) is None
    pictures = find_pictures(data)
    assert pictures.labelled is None
    assert [path.stem for path in pictures.images] == ["a", "b"]
    assert find_pictures(tmp_path / "images" / "val").images == pictures.images


def test_of_many_pictures_some_are_taken_evenly_with_their_labels(tmp_path: Path) -> None:
    data = write_set(tmp_path, {f"{number}": [f"{number % 5} 0.5 0.5 0.5 0.5"] for number in range(10)})
    pictures = find_pictures(data).thinned(5)
    assert [path.stem for path in pictures.images] == ["0", "2", "4", "6", "8"]
    assert pictures.labelled is not None
    assert [one.class_id.tolist() for one in pictures.labelled.labels([(9, 9)] * 5)] == [[0], [2], [4], [1], [3]]
    assert find_pictures(data).thinned(20).images == find_pictures(data).thinned(None).images


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names: [car]\n", "names no pictures to judge on: val is None"),
        ("val: images/val\n", "does not name the classes of its labels: names is None"),
        ("val: images/val\nnames: {a: car}\n", "does not name the classes"),
        ("val: images/test\nnames: [car]\n", "which .*data.yaml names, does not exist"),
        ("val: images\nnames: [car\n", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_with_a_data_set_is_said(tmp_path: Path, text: str, said: str) -> None:
    data = write_set(tmp_path, {"a": ["0 0.5 0.5 0.5 0.5"]})
    data.write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_labelled(data)


def test_a_label_of_no_class_is_refused_with_its_line(tmp_path: Path) -> None:
    found = read_labelled(write_set(tmp_path, {"a": ["1 0.5 0.5 0.5 0.5", "5 0.5 0.5 0.5 0.5"]}))
    assert found is not None
    with pytest.raises(SettingsError, match=re.escape("a.txt, line 2")):
        found.labels([(100, 100)])


def test_the_shared_pictures_have_their_labels(data: Path) -> None:
    pictures = find_pictures(data / "labelled" / "vehicles" / "data.yaml")
    assert len(pictures.images) == 272
    assert all(label_of(image).exists() for image in pictures.images)
    assert pictures.labelled is not None
    labels = pictures.labelled.labels([(640, 640)] * 272)
    counts = [sum(int((one.class_id == number).sum()) for one in labels) for number in range(5)]
    assert counts == [28, 371, 98, 24, 17]
