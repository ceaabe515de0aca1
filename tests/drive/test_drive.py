"""The synthetic drive: the same picture every time, exact boxes, honest flags, readable stamps."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception.drive import CLASS_NAMES, Drive, DriveSettings, Truth, read_stamp
from perception.drive.camera import Camera
from perception.drive.hashing import Dice
from perception.drive.palette import make_light
from perception.drive.settings import BICYCLE, BUS, CAR, MOTORCYCLE, TRUCK
from perception.drive.truth import Outline, box_of, collect, shown
from perception.drive.vehicles.bodies import Fleet, Vehicle, draw_body

SMALL: dict[str, Any] = {"width": 640, "height": 360}
WIDTH, ROWS = 1280, 720
DIGESTS = """
import sys
sys.path.insert(0, sys.argv[1])
from test_drive import digest
print(digest([int(v) for v in sys.argv[2].split(",")]))
"""


def digest(numbers: list[int]) -> str:
    """The sum of some frames of some drives, rendered in the order given and hashed in the order of their numbers."""
    total = hashlib.sha256()
    for settings in (
        DriveSettings(seed=3, **SMALL),
        DriveSettings(seed=8, light="night", rain=0.5, stamp=True, **SMALL),
    ):
        drive = Drive(settings)
        frames = {number: drive.render(number) for number in numbers}
        for number in sorted(frames):
            image, truth = frames[number]
            for array in (image, truth.xyxy, truth.class_id, truth.occluded):
                total.update(array.tobytes())
    return total.hexdigest()


@pytest.fixture
def camera() -> Camera:
    return Camera(WIDTH, ROWS, focal=1300.0, centre_x=640.0, horizon=300.0, height=1.7, bend=0.0004)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(Dice(5), make_light(Dice(5), "day", 0.0))


def test_a_frame_is_the_same_in_another_process_and_order() -> None:
    command = [sys.executable, "-c", DIGESTS, str(Path(__file__).parent), "70,0,3"]
    other = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert other.stdout.strip() == digest([0, 3, 70])


def test_seeds_light_and_rain_change_the_picture() -> None:
    pictures = [
        Drive(DriveSettings(**SMALL, **change)).render(5)[0].tobytes()
        for change in ({}, {"seed": 2}, {"light": "dusk"}, {"light": "night"}, {"rain": 0.6})
    ]
    assert len(set(pictures)) == len(pictures)


def test_shapes_types_and_movement() -> None:
    drive = Drive(DriveSettings(fps=10, duration=2.0, **SMALL))
    assert drive.frame_count == 20
    before, truth = drive.render(7)
    after, _ = drive.render(8)
    assert before.shape == (360, 640, 3) and before.dtype == np.uint8
    assert truth.xyxy.dtype == np.float32 and truth.class_id.dtype == np.int64 and truth.occluded.dtype == np.bool_
    assert len(truth.xyxy) == len(truth.class_id) == len(truth.occluded)
    changed = np.abs(before.astype(int) - after).max(2) > 8
    assert changed.mean() > 0.02
    for number in (-1, 20):
        with pytest.raises(IndexError, match="20 frames"):
            drive.render(number)


def test_no_vehicles_give_an_empty_truth() -> None:
    _, truth = Drive(DriveSettings(vehicles=0, **SMALL)).render(3)
    assert truth.xyxy.shape == (0, 4) and truth.class_id.shape == (0,) and truth.occluded.shape == (0,)


def test_many_vehicles_and_odd_sizes_render() -> None:
    image, truth = Drive(DriveSettings(seed=4, vehicles=40, width=417, height=333)).render(2)
    assert image.shape == (333, 417, 3)
    assert len(truth.xyxy) <= 40


def test_boxes_lie_inside_the_frame() -> None:
    for seed in range(4):
        drive = Drive(DriveSettings(seed=seed, vehicles=12, **SMALL))
        for number in range(0, 400, 40):
            box = drive.render(number)[1].xyxy
            assert (box[:, :2] >= 0).all() and (box[:, 2] <= 640).all() and (box[:, 3] <= 360).all()
            assert (box[:, 2:] - box[:, :2] >= 4).all()


@pytest.mark.parametrize("class_id", [BICYCLE, CAR, MOTORCYCLE, BUS, TRUCK])
@pytest.mark.parametrize("place", [(0.5, 12.0, 1), (-3.4, 30.0, -1), (3.0, 9.0, 1), (3.1, 6.5, 1)])
def test_a_box_is_where_the_body_is_drawn(
    camera: Camera, fleet: Fleet, class_id: int, place: tuple[float, float, int]
) -> None:
    for design in range(4):
        x, z, heading = place
        posed = fleet.pose(Vehicle(class_id, design, x, z, heading), camera)
        image = np.zeros((ROWS, WIDTH, 3), np.uint8)
        draw_body(image, posed, np.full((len(posed.mesh.level), 3), 255, np.float32))
        box = box_of(Outline(posed), WIDTH, ROWS)
        ys, xs = np.nonzero(image.max(2) > 96)
        assert box is not None
        drawn = np.asarray([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert np.abs(box - drawn).max() <= 2.0


def test_the_boxes_of_a_frame_are_where_its_vehicles_are() -> None:
    """Against the same road without vehicles: what changed inside a lone vehicle's box reaches its edges."""
    checked = 0
    for seed in range(1, 7):
        settings = DriveSettings(seed=seed, vehicles=2, rain=0.3)
        full, truth = Drive(settings).render(30)
        empty, _ = Drive(replace(settings, vehicles=0)).render(30)
        changed = np.abs(full.astype(int) - empty).max(2) > 14
        for box, hidden in zip(truth.xyxy.round().astype(int), truth.occluded, strict=True):
            if hidden or box[3] - box[1] < 40:
                continue
            part = changed[max(box[1] - 12, 0) : box[3], box[0] : box[2]]
            # Shadows lie on the ground, so the top edge is the one that only the body makes.
            rows = np.flatnonzero(part.sum(1) >= 2)
            assert abs(rows[0] + max(box[1] - 12, 0) - box[1]) <= 3
            assert part.mean() > 0.3
            checked += 1
    assert checked >= 3


def _truth_of(fleet: Fleet, camera: Camera, vehicles: list[Vehicle]) -> Truth:
    outlines = [Outline(fleet.pose(vehicle, camera)) for vehicle in vehicles]
    found = [
        (vehicle.class_id, outlines[i], [hull for nearer in outlines[i + 1 :] for hull in nearer.hulls])
        for i, vehicle in enumerate(vehicles)
    ]
    return collect(found, WIDTH, ROWS)


def test_flags_of_hidden_cut_and_small_vehicles(fleet: Fleet, camera: Camera) -> None:
    far = Vehicle(CAR, 0, 0.0, 240.0, 1)
    behind = Vehicle(CAR, 0, -0.2, 30.0, 1)
    free = Vehicle(CAR, 1, -6.0, 20.0, -1)
    wall = Vehicle(TRUCK, 0, 1.0, 18.0, 1)
    truth = _truth_of(fleet, camera, [replace(far, x=-30.0), behind, free, wall])
    assert truth.class_id.tolist() == [CAR, CAR, CAR, TRUCK]
    assert truth.occluded.tolist() == [True, True, False, False]
    assert _truth_of(fleet, camera, [behind]).occluded.tolist() == [False]
    small = _truth_of(fleet, camera, [far])
    assert small.xyxy[0, 3] - small.xyxy[0, 1] < 12 and small.occluded.tolist() == [True]
    half = Outline(fleet.pose(Vehicle(CAR, 0, 640 * 8.0 / 1300, 8.0 + 2.4, 1), camera))
    assert 0.2 < shown(half, [], WIDTH, ROWS)[0] < 0.8


def test_the_share_shown_is_measured(fleet: Fleet, camera: Camera) -> None:
    """A blind drawn over the left part of a bus hides just that part."""
    outline = Outline(fleet.pose(Vehicle(BUS, 0, 0.0, 30.0, 1), camera))
    left, top, right, bottom = outline.bounds
    edge = left + 0.4 * (right - left)
    blind = np.asarray([(left - 9, top - 9), (edge, top - 9), (edge, bottom + 9), (left - 9, bottom + 9)], np.float32)
    assert shown(outline, [blind], WIDTH, ROWS)[0] == pytest.approx(0.6, abs=0.06)
    assert shown(outline, [], WIDTH, ROWS) == (1.0, math.inf)


def test_all_classes_appear_large_enough() -> None:
    counts = np.zeros(5, int)
    for seed in range(10):
        drive = Drive(DriveSettings(seed=seed, **SMALL))
        for number in range(0, 500, 100):
            truth = drive.render(number)[1]
            tall = truth.xyxy[:, 3] - truth.xyxy[:, 1] >= 24
            counts += np.bincount(truth.class_id[tall & ~truth.occluded], minlength=5)
    assert (counts >= 3).all(), dict(zip(CLASS_NAMES, counts.tolist(), strict=True))


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (1920, 1080), (1000, 562)])
def test_stamps_survive_jpeg_and_show_tears(size: tuple[int, int]) -> None:
    drive = Drive(DriveSettings(seed=6, width=size[0], height=size[1], stamp=True, fps=100, duration=1e4))
    first, second = (drive.render(number)[0] for number in (4711, 999_999))
    _, coded = cv2.imencode(".jpg", first, [cv2.IMWRITE_JPEG_QUALITY, 80])
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    assert read_stamp(decoded) == 4711
    assert read_stamp(second) == 999_999
    torn = first.copy()
    torn[size[1] // 2 :] = second[size[1] // 2 :]
    assert read_stamp(torn) is None


def test_no_stamp_is_none() -> None:
    plain, _ = Drive(DriveSettings(**SMALL)).render(0)
    assert read_stamp(plain) is None
    assert read_stamp(np.zeros((720, 1280, 3), np.uint8)) is None
    assert read_stamp(np.full((720, 1280, 3), 255, np.uint8)) is None
    assert read_stamp(np.zeros((8, 8, 3), np.uint8)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": 1.5},
        {"vehicles": -1},
        {"vehicles": 65},
        {"width": 10},
        {"height": 0},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"duration": -1.0},
        {"light": "noon"},
        {"rain": 1.5},
        {"rain": "wet"},
        {"stamp": 1},
        {"vehicles": True},
    ],
)
def test_wrong_settings_name_field_value_and_what_is_allowed(change: dict[str, object]) -> None:
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError) as caught:
        DriveSettings(**change)  # type: ignore[arg-type]
    assert name in str(caught.value) and repr(value) in str(caught.value) and "allowed" in str(caught.value)


def test_a_stamp_needs_width() -> None:
    with pytest.raises(ValueError, match="width=320"):
        DriveSettings(width=320, height=240, stamp=True)
