"""Data sets with labels: where the labels lie, classes by name, and what is wrong with a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from perception.core.errors import SettingsError
from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy.check import find_pictures
from perception.workshop.accuracy.labelled import label_of, read_labelled
from perception.workshop.accuracy.labels import read_label_file
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


GOOD = "1 0.5 0.5 0.5 0.5"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5 0.5 0.5 0.5 0.5", "there is no class 5"),
        ("-1 0.5 0.5 0.5 0.5", "there is no class -1"),
        ("1.5 0.5 0.5 0.5 0.5", "there is no class 1.5"),
        ("nan 0.5 0.5 0.5 0.5", "there is no class nan"),
        ("1 0.5 0.5 nan 0.5", "nan is not within 0 to 1"),
        ("1 1e308 0.5 0.5 0.5", "1e+308 is not within 0 to 1"),
        ("1 inf 0.5 0.5 0.5", "inf is not within 0 to 1"),
        ("1 0.5 0.5 1.2 0.5", "1.2 is not within 0 to 1"),
        ("1 0.5 -0.02 0.5 0.5", "-0.02 is not within 0 to 1"),
        ("1 320 240 64 48", "320 is not within 0 to 1, which are shares of the picture; are these pixels?"),
        ("1 0.5 0.5 0.5", "4 values, where a label has 5"),
        ("1 0.5 0.5 0.5 0.5 0.9", "6 values, where a label has 5"),
        ("car 0.5 0.5 0.5 0.5", "'car 0.5 0.5 0.5 0.5' is no label"),
    ],
)
def test_a_picture_with_a_wrong_label_is_left_out_as_ultralytics_does_and_told(
    tmp_path: Path, logged: list[str], line: str, said: str
) -> None:
    found = read_labelled(write_set(tmp_path, {"a": [GOOD, line], "b": [GOOD], "c": []}))
    assert found is not None
    assert [path.stem for path in found.images] == ["b", "c"]
    (told,) = logged
    assert told.startswith("WARNING 1 of 3 pictures are left out for their labels")
    assert f": {label_of_a(tmp_path)}, line 2: {said}" in told
    (tmp_path / "labels" / "val" / "b.txt").unlink()
    (tmp_path / "images" / "val" / "b.png").unlink()
    (tmp_path / "images" / "val" / "c.png").unlink()
    with pytest.raises(SettingsError, match=re.escape(f"line 2: {said}")):
        read_labelled(tmp_path / "data.yaml")


def label_of_a(folder: Path) -> Path:
    return folder / "labels" / "val" / "a.txt"


def test_labels_a_hundredth_outside_are_taken_and_polygons_are_boxes(tmp_path: Path) -> None:
    lines = ["1 0.1 0.2 0.5 0.2 0.5 0.6", "1 0 0 1.01 0 1 1 -0.01 1"]
    found = read_labelled(write_set(tmp_path, {"a": lines}))
    assert found is not None
    (labels,) = found.labels([(100, 100)])
    np.testing.assert_allclose(labels.xyxy, [[10, 20, 50, 60], [-1, 0, 101, 100]], atol=1e-3)


def test_a_label_that_stands_twice_counts_once_and_is_told(tmp_path: Path, logged: list[str]) -> None:
    data = write_set(tmp_path, {"a": [GOOD, "3 0.5 0.5 0.1 0.1", GOOD, GOOD], "b": [GOOD]})
    found = read_labelled(data)
    assert found is not None
    assert [one.class_id.tolist() for one in found.labels([(9, 9)] * 2)] == [[1, 3], [1]]
    assert logged == [f"WARNING 2 labels stand twice and count once, in {tmp_path}/images/val/a.png"]


def test_classes_that_are_numbered_from_1_are_told(tmp_path: Path, logged: list[str]) -> None:
    lines = {str(number): [f"{number} 0.5 0.5 0.5 0.5"] for number in range(1, 6)}
    found = read_labelled(write_set(tmp_path, lines))
    assert found is not None
    assert [path.stem for path in found.images] == ["1", "2", "3", "4"]
    (line,) = logged
    assert "the classes seem to be numbered from 1, and not from 0: then every figure is that of a wrong class" in line


def test_a_label_file_that_is_no_text_or_no_file_is_left_out(tmp_path: Path, logged: list[str]) -> None:
    data = write_set(tmp_path, {"a": [GOOD], "b": [GOOD], "c": [GOOD], "d": [GOOD]})
    labels = tmp_path / "labels" / "val"
    (labels / "b.txt").write_bytes(b"\xff\xfe1")
    (labels / "c.txt").unlink()
    os.mkfifo(labels / "c.txt")
    (labels / "d.txt").unlink()
    (labels / "d.txt").symlink_to("/dev/zero")
    found = read_labelled(data)
    assert found is not None
    assert [path.stem for path in found.images] == ["a"]
    assert "3 of 4 pictures are left out" in logged[0]


def test_the_shared_pictures_have_their_labels(data: Path) -> None:
    pictures = find_pictures(data / "labelled" / "vehicles" / "data.yaml")
    assert len(pictures.images) == 272
    assert all(label_of(image).exists() for image in pictures.images)
    assert pictures.labelled is not None
    labels = pictures.labelled.labels([(640, 640)] * 272)
    counts = [sum(int((one.class_id == number).sum()) for one in labels) for number in range(5)]
    assert counts == [28, 371, 98, 24, 17]


# What ultralytics itself makes of a file

LABEL_FILES = {
    "good": ["1 0.5 0.5 0.5 0.5", "3 0.1 0.2 0.05 0.05"],
    "twice": ["1 0.5 0.5 0.5 0.5"] * 3 + ["0 0.5 0.5 0.5 0.5"],
    "a hundredth outside": ["1 1.005 0.5 0.5 0.5", "1 0.5 -0.005 0.5 0.5"],
    "outside": ["1 0.5 0.5 0.5 0.5", "1 1.02 0.5 0.5 0.5"],
    "negative": ["1 0.5 0.5 0.5 -0.02"],
    "not a number": ["1 nan 0.5 0.5 0.5"],
    "huge": ["1 1e308 0.5 0.5 0.5"],
    "pixels": ["1 320 240 64 48"],
    "numbered from 1": ["5 0.5 0.5 0.5 0.5"],
    "negative class": ["-1 0.5 0.5 0.5 0.5"],
    "too few": ["1 0.5 0.5 0.5"],
    "too many": ["1 0.5 0.5 0.5 0.5 0.9"],
    "words": ["car 0.5 0.5 0.5 0.5"],
    "a polygon": ["1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.7", "2 0.2 0.2 0.4 0.4 0.3 0.9"],
    "an odd polygon": ["1 0.1 0.2 0.5 0.2 0.5 0.6 0.1"],
    "empty": [],
    "blank lines": ["", "1 0.5 0.5 0.5 0.5", "", ""],
}


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", LABEL_FILES)
def test_a_file_is_taken_or_left_out_as_by_ultralytics(tmp_path: Path, name: str) -> None:
    from ultralytics.data.utils import verify_image_label as verify

    write_set(tmp_path, {"a": LABEL_FILES[name]})
    image, file = tmp_path / "images" / "val" / "a.png", label_of_a(tmp_path)
    theirs = verify((str(image), str(file), "", False, 5, 0, 0, False))[1]
    try:
        ours = read_label_file(file, range(5)).rows
    except SettingsError:
        assert theirs is None
    else:
        assert theirs is not None
        np.testing.assert_allclose(sorted(ours.tolist()), sorted(theirs.tolist()), atol=1e-6)
