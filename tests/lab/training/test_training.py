"""The training workshop: labels and their completion, the drive as a training set, and the arithmetic of scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from perception.core.boxes import overlaps, shares_inside
from perception.core.detections import Detections
from perception.core.errors import SettingsError, SourceError
from perception.core.frame import Frame, Truth
from perception.lab.training import drive_pictures, scoring
from perception.lab.training.completion import RULES, Rule, complete, rule_for
from perception.lab.training.dataset import digest, digests, list_images, prepare
from perception.lab.training.export import DEFAULT_CONFIDENCE, shift_confidence
from perception.lab.training.figures import Service, Split, follow
from perception.lab.training.teacher import teacher_detections
from perception.workshop.accuracy.labels import Labels, read_labels, write_labels
from perception.workshop.accuracy.matching import above, match

BICYCLE, CAR, MOTORCYCLE, BUS, TRUCK = range(5)
SIZE = (400, 600)
ONE, TWO, FAR = (100, 100, 200, 180), (300, 100, 400, 180), (500, 300, 560, 340)
Seen = tuple[int, float, tuple[float, float, float, float]]


def found(*rows: Seen) -> Detections:
    """Detections from (class, confidence, box)."""
    boxes = np.asarray([row[2] for row in rows], np.float32).reshape(-1, 4)
    confidence = np.asarray([row[1] for row in rows], np.float32)
    return Detections(boxes, confidence, np.asarray([row[0] for row in rows], np.int64))


def truth(*rows: tuple[int, tuple[float, float, float, float], bool]) -> Truth:
    """Truth from (class, box, occluded)."""
    boxes = np.asarray([row[1] for row in rows], np.float32).reshape(-1, 4)
    classes = np.asarray([row[0] for row in rows], np.int64)
    return Truth(boxes, classes, np.asarray([row[2] for row in rows], bool))


def test_overlap_and_share_of_constructed_boxes() -> None:
    first = np.asarray([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    second = np.asarray([[5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert overlaps(first, second).tolist() == pytest.approx(np.asarray([[1 / 3, 0], [0, 0]]))
    assert shares_inside(first, second).tolist() == [[0.5, 0], [0, 0]]


# Labels


def test_labels_survive_the_round_trip(tmp_path: Path) -> None:
    labels = Labels.of([ONE, FAR], [CAR, TRUCK])
    write_labels(tmp_path / "a.txt", labels, SIZE)
    again = read_labels(tmp_path / "a.txt", SIZE)
    np.testing.assert_allclose(again.xyxy, labels.xyxy, atol=1e-3)
    assert again.class_id.tolist() == [CAR, TRUCK]


def test_labels_are_cut_at_the_edge_of_the_picture(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.txt", Labels.of([(-50, 100, 50, 500)], [CAR]), SIZE)
    np.testing.assert_allclose(read_labels(tmp_path / "a.txt", SIZE).xyxy, [[0, 100, 50, 400]], atol=1e-3)


def test_a_picture_without_a_label_file_has_no_vehicles(tmp_path: Path) -> None:
    assert len(read_labels(tmp_path / "none.txt", SIZE)) == 0


@pytest.mark.parametrize("line", ["7 0.5 0.5 0.1 0.1", "1 0.5 0.5 0.1", "car 0.5 0.5 0.1 0.1", "1.5 0.5 0.5 0.1 0.1"])
def test_what_is_no_label_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"1 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(SettingsError, match=r"a\.txt, line 2: "):
        read_labels(path, SIZE)


def test_labels_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        Labels.of([ONE, TWO], [CAR])


# Completion


def test_a_confident_teacher_adds_what_no_label_overlaps() -> None:
    full = complete(Labels.of([ONE], [CAR]), [found((CAR, 0.9, ONE), (TRUCK, 0.6, TWO))], Rule(), SIZE)
    assert full.xyxy.tolist() == [list(ONE), list(TWO)]
    assert full.class_id.tolist() == [CAR, TRUCK]


def test_a_doubtful_vehicle_needs_two_teachers() -> None:
    none = Labels.of([], [])
    doubtful = found((CAR, 0.4, ONE))
    assert len(complete(none, [doubtful], Rule(), SIZE)) == 0
    assert len(complete(none, [doubtful, found((CAR, 0.4, TWO))], Rule(), SIZE)) == 0
    assert len(complete(none, [doubtful, found((BUS, 0.35, ONE))], Rule(), SIZE)) == 1
    assert len(complete(none, [doubtful, found((CAR, 0.2, ONE))], Rule(), SIZE)) == 0


def test_two_teachers_add_one_vehicle_once_by_the_name_of_the_surer() -> None:
    full = complete(Labels.of([], []), [found((CAR, 0.6, ONE)), found((TRUCK, 0.8, ONE))], Rule(), SIZE)
    assert full.class_id.tolist() == [TRUCK]


def test_a_label_wins_over_the_teacher_in_class_and_box() -> None:
    shifted = (110, 100, 210, 180)
    full = complete(Labels.of([ONE], [CAR]), [found((BUS, 0.99, shifted))], Rule(), SIZE)
    assert (full.xyxy.tolist(), full.class_id.tolist()) == ([list(ONE)], [CAR])


def test_a_member_of_a_labelled_group_is_not_added_but_another_class_before_it_is() -> None:
    group, member = (0, 0, 300, 200), (100, 100, 160, 150)
    labels = Labels.of([group], [CAR])
    assert len(complete(labels, [found((CAR, 0.9, member))], Rule(), SIZE)) == 1
    assert len(complete(labels, [found((MOTORCYCLE, 0.9, member))], Rule(), SIZE)) == 2


def test_tiny_boxes_and_the_own_dashboard_are_not_added() -> None:
    tiny, dashboard = (10, 10, 16, 40), (0, 250, 600, 400)
    assert len(complete(Labels.of([], []), [found((CAR, 0.9, tiny), (CAR, 0.9, dashboard))], Rule(), SIZE)) == 0


def test_carla_gets_its_trucks_back_where_both_teachers_see_one() -> None:
    labels, sure, doubtful = Labels.of([ONE, TWO], [CAR, CAR]), found((TRUCK, 0.7, ONE)), found((TRUCK, 0.4, ONE))
    rule = RULES["carla"]
    assert complete(labels, [sure, sure], rule, SIZE).class_id.tolist() == [TRUCK, CAR]
    assert complete(labels, [sure, doubtful], rule, SIZE).class_id.tolist() == [CAR, CAR]
    assert complete(labels, [sure], rule, SIZE).class_id.tolist() == [CAR, CAR]
    assert complete(labels, [sure, sure], RULES["openimages"], SIZE).class_id.tolist() == [CAR, CAR]


def test_the_rule_follows_from_the_source_in_the_file_name() -> None:
    assert rule_for("carla_images_1.jpg") is RULES["carla"]
    assert rule_for("mine_1.jpg") == Rule()


def test_the_notes_of_a_teacher_are_read_without_asking_it_again(tmp_path: Path) -> None:
    notes = tmp_path / "notes.json"
    notes.write_text('{"a.jpg": [[1, 0.5, 1, 2, 3, 4]], "b.jpg": []}')
    seen = teacher_detections(tmp_path / "absent.pt", [tmp_path / "a.jpg", tmp_path / "b.jpg"], notes, "cpu")
    assert seen["a.jpg"].xyxy.tolist() == [[1, 2, 3, 4]]
    assert seen["a.jpg"].class_id.tolist() == [CAR]
    assert len(seen["b.jpg"]) == 0


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.pt does not exist"):
        teacher_detections(tmp_path / "absent.pt", [tmp_path / "a.jpg"], tmp_path / "notes.json", "cpu")


# The training set


def test_low_and_hidden_vehicles_of_the_drive_get_no_label() -> None:
    behind, before = (100, 100, 200, 200), (120, 100, 220, 220)
    labels = drive_pictures.worth_labelling(
        truth(
            (CAR, (0, 0, 20, 9), False),  # lower than 10 pixels of a 720p frame
            (CAR, (300, 0, 320, 12), False),
            (BUS, behind, True),  # a nearer box hides more than half of it
            (TRUCK, before, False),
            (CAR, (400, 0, 500, 100), True),  # flagged, though no box hides it: cut by the frame, say
        ),
        (720, 1280),
    )
    assert labels.class_id.tolist() == [CAR, TRUCK, CAR]


def test_training_seeds_are_not_those_of_demos_and_tests_and_vary_in_light_and_size() -> None:
    made = [drive_pictures.settings_for(drive_pictures.FIRST_SEED + number) for number in range(60)]
    assert drive_pictures.FIRST_SEED > 10**5
    assert {one.light for one in made} == {"day", "dusk", "night"}
    assert len({(one.width, one.height) for one in made}) > 3
    assert any(one.rain == 0 for one in made)
    assert any(one.rain > 0.5 for one in made)


def write_data(folder: Path) -> Path:
    """A data set of one picture a split, the training one without its label."""
    for split in ("train", "val"):
        for name in ("images", "labels"):
            (folder / name / split).mkdir(parents=True)
        cv2.imwrite(str(folder / "images" / split / f"india_{split}.png"), np.full((40, 60, 3), 90, np.uint8))
    (folder / "labels" / "val" / "india_val.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    return folder


def write_notes(folder: Path) -> list[Path]:
    """Detections of two teachers in the training picture, as kept notes, so that no teacher is asked."""
    (folder / "teachers").mkdir(parents=True)
    for name in ("one", "two"):
        (folder / "teachers" / f"{name}.json").write_text('{"india_train.png": [[4, 0.4, 10, 10, 40, 30]]}')
    return [Path("one.pt"), Path("two.pt")]


def test_the_training_set_is_the_same_every_time_and_knows_what_it_is(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    for name in ("a", "b"):
        described = prepare(data, tmp_path / name, write_notes(tmp_path / name), 0, None, "cpu")
        assert described.name == "vehicle-n.yaml"
    listed = (tmp_path / "a" / "train.txt").read_text().splitlines()
    assert listed == ["./photos/train/images/india_train.png"] * 4
    assert (tmp_path / "a" / "photos/train/labels/india_train.txt").read_text().startswith("4 0.416667 0.500000")
    assert (tmp_path / "a" / "photos/val/labels/india_val.txt").read_text() == "1 0.500000 0.500000 0.500000 0.500000\n"
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a")["photos/train"]["vehicles"] == {
        "bicycle": 0, "car": 0, "motorcycle": 0, "bus": 0, "truck": 1,
    }  # fmt: skip


def test_a_digest_depends_on_names_and_contents_and_not_on_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    before = digest([one, two], tmp_path)
    assert digest([two, one], tmp_path) == before
    one.write_text("2")
    two.write_text("1")
    assert digest([one, two], tmp_path) != before


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no pictures"):
        list_images(tmp_path)


@pytest.mark.slow
def test_drive_pictures_are_the_same_in_every_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        drive_pictures.write_drive(tmp_path / name / "drive", 2, workers=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    image = cv2.imread(str(next((tmp_path / "a" / "drive" / "images").iterdir())))
    assert image is not None
    assert max(image.shape) == drive_pictures.LONG_SIDE_PX


# Average precision


def test_a_match_needs_the_overlap_asked_for() -> None:
    real = np.asarray([ONE], np.float32)
    half = np.asarray([(100, 100, 200, 140)], np.float32)
    car = np.asarray([CAR])
    assert match(half, car, real, car, 0.5).tolist() == [0]
    assert match(half, car, real, car, 0.51).tolist() == [-1]


@pytest.mark.needs("torch")
def test_average_precision_of_constructed_pictures() -> None:
    labels = [Labels.of([ONE, TWO], [CAR, CAR]), Labels.of([FAR], [BUS])]
    perfect = [found((CAR, 0.9, ONE), (CAR, 0.8, TWO)), found((BUS, 0.7, FAR))]
    assert scoring.average_precision(perfect, labels).map50_95 == pytest.approx(0.995, abs=0.006)
    other = [perfect[0], found((TRUCK, 0.7, FAR))]
    assert scoring.average_precision(other, labels).by_class[BUS] == (0.0, 0.0)
    assert scoring.average_precision(other, labels, any_vehicle=True).map50 == pytest.approx(0.995, abs=0.006)


def test_sources_are_told_by_the_word_before_the_underscore() -> None:
    empty, none = Detections.empty(), Labels.of([], [])
    split = Split(["india_images_1.jpg", "carla_1.jpg"], [empty, empty], [none, none])
    assert split.of("india").names == ["india_images_1.jpg"]
    assert split.of().names == split.names


def test_what_counts_is_above_the_threshold() -> None:
    assert above(found((CAR, 0.25, ONE), (CAR, 0.26, TWO)), 0.25).xyxy.tolist() == [list(TWO)]


def test_any_model_speaks_our_class_ids() -> None:
    def detect(frame: Frame) -> Detections:
        return found((7, 0.9, ONE), (2, 0.8, TWO))

    service = Service(detect, {0: "person", 2: "car", 7: "truck"})
    assert service(np.zeros((4, 4, 3), np.uint8)).class_id.tolist() == [TRUCK, CAR]


def test_a_clip_without_frames_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.mp4 holds no frame"):
        follow(lambda _: Detections.empty(), lambda _: Detections.empty(), tmp_path / "none.mp4")


def test_a_shift_of_confidence_makes_the_chosen_one_read_as_the_default() -> None:
    bias = SimpleNamespace(data=np.log([0.38 / 0.62, 0.9 / 0.1]))
    shift_confidence(SimpleNamespace(model=[SimpleNamespace(cv3=[[SimpleNamespace(bias=bias)]])]), 0.38)
    shares = 1 / (1 + np.exp(-bias.data))
    assert shares[0] == pytest.approx(DEFAULT_CONFIDENCE)
    assert DEFAULT_CONFIDENCE < shares[1] < 0.9


def test_a_car_is_followed_through_a_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (600, 400))
    for _ in range(6):
        writer.write(np.zeros((400, 600, 3), np.uint8))
    writer.release()
    near = [
        found((CAR, 0.9, (left, 100, left + 100, 180)), (CAR, 0.9, (0, 300, 50, 340))) for left in range(100, 220, 20)
    ]
    seen_by_reference = iter([*near[:2], Detections.empty(), *near[3:]])
    seen_by_detector = iter([near[0], Detections.empty(), near[3], near[4], found((BUS, 0.9, (200, 100, 300, 180)))])

    seen = follow(lambda _: next(seen_by_detector), lambda _: next(seen_by_reference), clip, (100, 100, 200, 180))
    assert (seen.found, seen.asked, seen.frames) == (3, 5, 6)
