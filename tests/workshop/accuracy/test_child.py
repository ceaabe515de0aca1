"""Running a model: exactly the file that was named, its classes by name, and the cache of its detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.backends.models.onnx_file import is_quantized
from perception.core.errors import BackendError, SettingsError
from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy import child
from perception.workshop.accuracy.detector import Conditions, places_of
from perception.workshop.accuracy.model_run import UNREADABLE, ModelRun, read
from perception.workshop.stage import run_stage
from tests.doubles import tiny_model
from tests.workshop.accuracy.folders import write_set
from tests.workshop.accuracy.scenes import labels_of, seen
from tests.workshop.build import small_network

CAR, BUS, TRUCK = (COCO_VEHICLES.index(name) for name in ("car", "bus", "truck"))
HOW = Conditions(threads=1)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    write_set(tmp_path / "set", {name: None for name in "abc"})
    return sorted((tmp_path / "set" / "images" / "val").iterdir())


def run_on(model: Path, images: list[Path], how: Conditions = HOW, cache: Path | None = None) -> tuple[ModelRun, bool]:
    """Return the run, and True if the cache had it."""
    target = model.parent / "found.npz"
    result = child.run(child.request(model, images, target, how, cache), lambda _: None)
    return read(target), bool(result["cached"])


def test_every_vehicle_is_found_with_its_class_by_name(tmp_path: Path, images: list[Path]) -> None:
    found, _ = run_on(tiny_model.build(tmp_path / "m.onnx"), images)
    assert (found.model, found.backend, found.precision, found.sizes) == (
        "m.onnx",
        "onnxruntime",
        "fp32",
        ((64, 64),) * 3,
    )
    assert found.class_names[:3] == ("person", "bicycle", "car")
    for one in found.found:  # the truck lies below the pilot's threshold, and counts for average precision
        assert one.class_id.tolist() == [CAR, BUS, TRUCK]
        np.testing.assert_allclose(one.xyxy[0], [8, 16, 24, 32], atol=0.01)


def test_an_engine_or_other_weights_beside_the_named_model_do_not_serve(tmp_path: Path, images: list[Path]) -> None:
    model = tiny_model.build(tmp_path / "m.onnx")
    for suffix in (".pt", ".engine"):
        model.with_suffix(suffix).write_bytes(b"none of these")
    assert run_on(model, images)[0].backend == "onnxruntime"


def test_a_class_that_the_model_lacks_is_told(tmp_path: Path, images: list[Path]) -> None:
    model = tiny_model.build(tmp_path / "m.onnx", names={0: "person", 1: "Car"}, boxes=[(8, 16, 24, 32, 0.9, 1)])
    found, _ = run_on(model, images)
    assert (found.known, found.missing) == (("car",), ("bicycle", "motorcycle", "bus", "truck"))
    assert found.found[0].class_id.tolist() == [CAR]


def test_other_vehicles_may_be_asked_for(tmp_path: Path, images: list[Path]) -> None:
    model = tiny_model.build(tmp_path / "m.onnx")
    found, _ = run_on(model, images, replace(HOW, classes=("person", "bus")))
    assert [found.classes[number] for number in found.found[0].class_id] == ["person", "bus"]


def test_names_are_lent_to_a_model_that_has_none(tmp_path: Path, images: list[Path]) -> None:
    model = tiny_model.build(tmp_path / "m.onnx", names=None)
    with pytest.raises(BackendError, match="does not name its classes"):
        run_on(model, images)
    assert run_on(model, images, replace(HOW, names=tuple(tiny_model.NAMES.values())))[0].missing == ()


@pytest.mark.parametrize("batch", [2, None])
def test_pictures_are_taken_as_many_at_a_time_as_the_model_takes(
    tmp_path: Path, images: list[Path], batch: int | None
) -> None:
    found, _ = run_on(tiny_model.build(tmp_path / "m.onnx", batch=batch), images)
    assert [len(one) for one in found.found] == [3, 3, 3]


def test_what_an_onnx_model_found_is_not_looked_for_again(tmp_path: Path, images: list[Path]) -> None:
    model, cache = tiny_model.build(tmp_path / "m.onnx"), tmp_path / "cache"
    first, was_there = run_on(model, images, cache=cache)
    assert not was_there
    other_name = tmp_path / "again"
    other_name.mkdir()
    copy = other_name / "m.onnx"
    copy.write_bytes(model.read_bytes())
    second, was_there = run_on(copy, images, cache=cache)
    assert was_there
    assert [one.xyxy.tolist() for one in first.found] == [one.xyxy.tolist() for one in second.found]


@pytest.mark.parametrize("changed", ["model", "picture", "pictures", "conditions"])
def test_a_stale_cache_is_never_read(tmp_path: Path, images: list[Path], changed: str) -> None:
    model, cache, how = tiny_model.build(tmp_path / "m.onnx"), tmp_path / "cache", HOW
    run_on(model, images, cache=cache)
    if changed == "model":
        tiny_model.build(model, boxes=tiny_model.BOXES[:1])
    elif changed == "picture":
        images[0].write_bytes(images[1].read_bytes())
    elif changed == "pictures":
        images = images[:2]
    else:
        how = replace(how, iou=0.5)
    assert not run_on(model, images, how, cache)[1]


def test_a_broken_cache_is_written_again(tmp_path: Path, images: list[Path]) -> None:
    model, cache = tiny_model.build(tmp_path / "m.onnx"), tmp_path / "cache"
    run_on(model, images, cache=cache)
    (kept,) = cache.iterdir()
    for broken in (b"", b"PK\x03\x04 no archive", kept.read_bytes()[:500]):
        kept.write_bytes(broken)
        assert not run_on(model, images, cache=cache)[1]
        assert run_on(model, images, cache=cache)[1]


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, images: list[Path]) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    said: list[Mapping[str, Any]] = []
    asked = child.request(
        tiny_model.build(tmp_path / "m.onnx"), images, tmp_path / "found.npz", HOW, tmp_path / "cache"
    )
    assert child.run(asked, said.append)["cached"] is False
    assert said[-1]["text"].startswith("What m.onnx finds is not kept for the next time: ")


def test_a_picture_that_cannot_be_read_counts_nowhere_and_ends_nothing(tmp_path: Path, images: list[Path]) -> None:
    model = tiny_model.build(tmp_path / "m.onnx")
    images[1].write_bytes(b"no picture")
    found, _ = run_on(model, images)
    assert [len(one) for one in found.found] == [3, 0, 3]
    assert (found.sizes[1], found.pictures) == (UNREADABLE, 2)
    for image in images:
        image.write_bytes(b"no picture")
    with pytest.raises(SettingsError, match=r"Not one of 3 pictures can be read, .*a\.png first"):
        run_on(model, images)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("m.txt", b"", "is no model that can be run"),
        ("m.onnx", None, "does not exist"),
        ("m.engine", None, "does not exist"),
        ("m.onnx", b"<html>", "is not an ONNX model"),
    ],
)
def test_what_is_no_model_is_said(tmp_path: Path, images: list[Path], name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises((SettingsError, BackendError), match=said):
        run_on(tmp_path / name, images)


def test_a_quantised_model_is_told_from_a_float_one(tmp_path: Path) -> None:
    model = tiny_model.build(tmp_path / "m.onnx")
    assert not is_quantized(model)
    assert is_quantized(small_network.build(tmp_path / "q.onnx", quantized=True))
    assert not is_quantized(small_network.build(tmp_path / "f.onnx"))
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-9])
    assert not is_quantized(tmp_path / "cut.onnx")


def test_class_names_are_compared_whatever_their_case() -> None:
    assert places_of(["car", "Bus"], {3: "CAR", 4: "bus", 5: "tram"}).tolist() == [-1, -1, -1, 0, 1, -1]


def test_a_look_survives_the_round_trip(tmp_path: Path) -> None:
    before = seen(labels_of(3))
    empty = replace(before, sizes=(), found=())
    for one in (before, empty):
        one.write(tmp_path / "run.npz")
        after = read(tmp_path / "run.npz")
        assert (after.title, after.sizes, after.known) == (one.title, one.sizes, one.known)
        assert [found.xyxy.tolist() for found in after.found] == [found.xyxy.tolist() for found in one.found]
        assert all(found.class_id.dtype == np.int64 for found in after.found)
    with pytest.raises(ValueError, match="1 sizes and 0 pictures"):
        replace(empty, sizes=((1, 1),))


def test_it_runs_as_a_stage_in_a_process_of_its_own(tmp_path: Path, images: list[Path]) -> None:
    events: list[Mapping[str, Any]] = []
    model = tiny_model.build(tmp_path / "m.onnx")
    asked = child.request(model, images, tmp_path / "found.npz", HOW)
    assert run_stage("perception.workshop.accuracy.child", asked, events.append)["cached"] is False
    assert [len(one) for one in read(tmp_path / "found.npz").found] == [3, 3, 3]
    assert {"event": "progress", "what": "m.onnx", "done": 3, "of": 3} in events
    for image in images:
        image.unlink()
    with pytest.raises(SettingsError, match="Not one of 3 pictures can be read"):
        run_stage("perception.workshop.accuracy.child", asked, events.append)
